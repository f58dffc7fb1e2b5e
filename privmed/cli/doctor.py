"""``privmed doctor``: what this installation can do, what is missing, and what is broken."""

from __future__ import annotations

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter


def command(json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Say what this installation can do, what is missing, and how to mend it. Exit code 1 when a plugin is broken."""
    from privmed.diagnosis import diagnose

    found, reporter = diagnose(), Reporter(json, quiet)
    threads = found["threads"]
    reporter.table(
        "This machine",
        [
            ("privmed", f"{found['privmed']}, Python {found['python']}, torch {found['torch']}"),
            ("system", found["system"]),
            *found["devices"].items(),
            (
                "bfloat16",
                "; ".join(f"{d}: {'fast' if fast else 'slow, so not used'}" for d, fast in found["bf16"].items()),
            ),
            ("threads", f"{threads['torch']} of {threads['cores']} cores (OMP_NUM_THREADS sets another number)"),
            *((f"free in {place}", f"{free / 1e9:.1f} GB") for place, free in found["disk"].items()),
        ],
    )
    reporter.table("\nFiles", [(name, "yes" if can else "no") for name, can in found["codecs"].items()])
    reporter.table(
        "\nExtras",
        [
            (e["name"], f"missing {', '.join(e['missing'])}: {e['install']}" if e["missing"] else "installed")
            for e in found["extras"]
        ],
    )
    reporter.table("\nPlugins", [("installed", ", ".join(found["plugins"]) or "none")])
    for reason in found["broken"]:
        reporter.say(f"! {reason}")
    reporter.finish(found)
    if found["broken"]:
        raise typer.Exit(1)
