"""``privmed plugins``: what is installed, and what is wrong with it. Listing reads metadata only and imports no plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter, bar

app = typer.Typer(help="List installed methods, or show one.", invoke_without_command=True, add_completion=False)


@app.callback()
def listing(
    context: typer.Context,
    kind: Annotated[
        str | None,
        typer.Option(help="Only hider, analyzer, protector, watermarker, exploiter, defence, metric, ..., command."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Also import every plugin and hold it against the contract; exit code 1 if one is broken."
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List what plugins bring, broken ones with their reason; the core's own parts: privmed bench list."""
    if context.invoked_subcommand:
        return
    from privmed import registry

    rows = registry.plugins(kind, check=check) if kind else registry.installed(check=check)
    reporter = Reporter(json, quiet)
    _show_listing(reporter, rows)
    fields = ("kind", "name", "distribution", "version", "status", "reason")
    reporter.finish({"plugins": [{f: getattr(row, f) for f in fields} for row in rows]})
    if check and any(row.status == "broken" for row in rows):
        raise typer.Exit(1)


def _show_listing(reporter: Reporter, rows: list) -> None:
    if reporter.quiet or reporter.json:
        return
    from rich.console import Console
    from rich.table import Table

    if not rows:
        reporter.say("No methods are installed. Try: pip install 'privmed[all]'")
        return
    table = Table("kind", "name", "from", "status", box=None, padding=(0, 2, 0, 0), title_justify="left")
    for row in rows:
        colour = "red" if row.status == "broken" else "green"
        table.add_row(row.kind, f"[bold]{row.name}[/bold]", row.origin, f"[{colour}]{row.status}[/{colour}]")
    console = Console()
    console.print(table)
    for row in rows:
        if row.reason:
            console.print(f"[red]![/red] {row.reason}", highlight=False)


@app.command()
def show(
    method: Annotated[str, typer.Argument(help="kind:name, e.g. hider:lightih or exploiter:unet")],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show a method or part: what it is, its settings, its weights."""
    import inspect

    from privmed import registry, weights
    from privmed.errors import SettingsError
    from privmed.interfaces.abilities import ABILITIES, abilities
    from privmed.settings import describe

    kind, colon, name = method.partition(":")
    if not colon:
        raise SettingsError(f"{method!r}: expected kind:name, e.g. hider:lightih.")
    cls = registry.load(kind, name)
    if kind == "command":
        cls, settings = cls.target, []
    else:
        settings = describe(cls.Config)
    about = next(iter((inspect.getdoc(cls) or "").splitlines()), "")
    cards = {n: weights.read_card(p, cls) for n, p in weights.bundled(cls).items()} if kind in registry.METHODS else {}
    reporter, able = Reporter(json, quiet), abilities(cls) if kind in registry.METHODS else []
    if not json:
        reporter.say(f"{method}: {about}\n")
        reporter.table(
            "Settings",
            [
                (r["name"], f"{r['default']!r}  {r['doc']}" + (f" ({r['allowed']})" if r["allowed"] else ""))
                for r in settings
            ]
            or [("none", "")],
        )
    if not json and kind in registry.METHODS:
        if ABILITIES[kind]:
            reporter.table("\nAbilities", [(name, "yes" if name in able else "no") for name in ABILITIES[kind]])
        reporter.table(
            "\nWeights",
            [(n, f"{c['bytes'] / 1e6:.1f} MB  {c.get('about', '')}") for n, c in cards.items()] or [("none", "")],
        )
    reporter.finish({"method": method, "about": about, "settings": settings, "abilities": able, "weights": cards})


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the method, e.g. mine; the distribution is privmed-mine.")],
    kind: Annotated[
        str, typer.Option(help="hider, analyzer, protector, watermarker, exploiter, defence, dataset or suite.")
    ],
    path: Annotated[Path, typer.Option("--path", help="Folder that the distribution's folder is made in.")] = Path(),
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a plugin: a distribution with a small working method, its test, licence and README. Existing folders are left alone."""
    from privmed.scaffold import write_plugin

    reporter = Reporter(json, quiet)
    made = write_plugin(name, kind, path)
    reporter.say(f"{made.folder} holds {made.kind}:{made.name}. Next:\n")
    for line in made.steps:
        reporter.say(f"    {line}")
    reporter.finish({"folder": str(made.folder), "kind": made.kind, "name": made.name, "next": made.steps})


@app.command()
def check(
    name: Annotated[
        str | None, typer.Argument(help="kind:name, a name, or a distribution; all that plugins bring by default.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the conformance kit on what is installed, with random weights. Exit code 1 when a check fails."""
    from collections import Counter

    import attrs

    from privmed import __version__
    from privmed.testing.report import FAILED, chosen, examine

    reporter = Reporter(json, quiet)
    with bar(reporter, "checking") as progress:
        rows = chosen(name)
        results = list(examine(rows, progress))
    count = Counter(r.status for r in results)
    for target in dict.fromkeys(r.target for r in results):
        mine = [r for r in results if r.target == target]
        reporter.table(f"\n{target}", [(r.check, _words(r)) for r in mine])
    reporter.say("\n" + ", ".join(f"{n} {status}" for status, n in sorted(count.items())))
    checked = {f"{row.kind}:{row.name}": {"distribution": row.distribution, "version": row.version} for row in rows}
    reporter.finish(
        {
            "privmed": __version__,
            "checked": checked,
            "results": [attrs.asdict(r) for r in results],
            "failed": count[FAILED],
        }
    )
    if count[FAILED]:
        raise typer.Exit(1)


def _words(result) -> str:
    """A result for people."""
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.status}{reason}" + (f"\nmend: {result.mend}" if result.mend else "")
