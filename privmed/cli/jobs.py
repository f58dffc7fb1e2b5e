"""``privmed jobs``: join what the shards of a job have written, and say how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from privmed.cli.common import NAMED, Debug, Json, Quiet, Reporter

app = typer.Typer(help="Join the shards of long jobs.", no_args_is_help=True, add_completion=False)
Output = Annotated[Path, typer.Argument(help="The output folder that the shards share.")]
Data = Annotated[Path | None, typer.Option("--data", help="Where the data set lies now, if it was moved.")]


@app.command()
def merge(
    output: Output,
    data: Data = None,
    leave_out: Annotated[bool, typer.Option("--leave-out", help="Finish without the images that failed.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Join all shards into one output folder. Exit code 1, and nothing is joined, where images are missing, doubled or failed."""
    reporter, joined = Reporter(json, quiet), _joined(output, data)
    try:
        whole = not (joined.missing or joined.absent or joined.doubled or (joined.failed and not leave_out))
        if whole:
            joined.finish()
        _report(reporter, output, joined, whole)
    finally:
        joined.leave()
    if not whole or joined.failed:
        raise typer.Exit(1)


@app.command()
def status(
    output: Output,
    data: Data = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say how far the shards are, and what is missing, doubled or failed."""
    joined = _joined(output, data)
    joined.leave()
    _report(Reporter(json, quiet), output, joined, False)


def _joined(output: Path, data: Path | None) -> Any:
    from privmed.data.merging import join

    return join(output, data)


def _report(reporter: Reporter, output: Path, joined: Any, merged: bool) -> None:
    total = len(joined.lines) + len(joined.missing) + len(joined.failed)
    rows = [("shards", f"{joined.count - len(joined.absent)} of {joined.count}")]
    rows += [("not begun", ", ".join(f"{n}/{joined.count}" for n in joined.absent[:NAMED]))] if joined.absent else []
    rows += [("written", f"{len(joined.lines)} of {total} images")]
    for name, some in (("missing", joined.missing), ("doubled", joined.doubled)):
        rows += [(name, f"{len(some)}, the first of them {some[0]}")] if some else []
    reporter.table(f"{'joined' if merged else 'not joined'}: {output}", rows)
    reporter.left_out(joined.failed)
    if joined.failed and not merged:
        reporter.say("Mend them and run their shards with --resume, or join the others with --leave-out.")
    reporter.finish(
        {
            "output": str(output),
            "merged": merged,
            "shards": joined.count,
            "absent": joined.absent,
            "written": len(joined.lines),
            "missing": joined.missing,
            "doubled": joined.doubled,
            "failed": [{"file": name, "reason": why} for name, why in joined.failed],
        }
    )
