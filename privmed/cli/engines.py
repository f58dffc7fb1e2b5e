"""The options that all commands on many images share: where they run, what is done of them, and how many may fail."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from privmed.cli.common import Reporter
    from privmed.jobs import Job

given: ContextVar[tuple[str, ...]] = ContextVar("given", default=())
"""The words of the command line."""

Engine = Annotated[
    str | None,
    typer.Option("--engine", help="Where images are worked on: local (this process), processes, or ray (a cluster)."),
]
Workers = Annotated[
    str | None,
    typer.Option("--workers", help="How many at a time; auto: one a processor or device. Makes the engine processes."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="Of a Ray cluster; RAY_ADDRESS by default, else one on this machine.")
]
Part = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="3/8: the third of eight parts. 8: in an array job its own part; elsewhere the commands of all parts.",
    ),
]
MaxFailures = Annotated[
    int | None, typer.Option("--max-failures", min=0, help="Stop when more images than this cannot be used.")
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="As --resume, but what is written is believed and not read again."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the folder an interrupted run left.")]
Batch = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="How many images of a folder a network takes at once; last bits may depend on it."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]


def job_of(
    name: str,
    reporter: Reporter,
    *,
    engine: str | None,
    workers: str | None,
    address: str | None,
    device: str = "cpu",
    shard: str | None = None,
    batch: int = 1,
    **more: Any,
) -> Job:
    """The job that the options of a command ask for.

    Raises:
        SettingsError: for options that do not fit together.
        typer.Exit: when the commands of all shards were asked for, and were told.
    """
    from privmed.jobs import Job
    from privmed.jobs.batches import Batched
    from privmed.jobs.engines import make_executor
    from privmed.jobs.shards import Shard, read_shard

    part = None if shard is None else read_shard(shard)
    if isinstance(part, int):
        tell_shards(reporter, part)
        raise typer.Exit
    assert part is None or isinstance(part, Shard)
    executor = make_executor(engine, workers, device=device, address=address)
    return Job(name, executor if batch == 1 else Batched(executor, batch), shard=part, **more)


def tell_shards(reporter: Reporter, count: int) -> None:
    """Show the command of every shard, and the one that joins them."""
    from privmed.jobs.shards import commands, output_of

    arguments = given.get()
    lines = commands(arguments, count)
    merge = f"privmed jobs merge {output_of(arguments)}"
    for line in (*lines, merge):
        reporter.say(line)
    reporter.finish({"shards": lines, "merge": merge})


def preview(reporter: Reporter, job: Job, output: Any, kept: int, todo: list[str], parts: int | None = None) -> None:
    """Say what a job would do."""
    rows = [
        ("engine", f"{job.executor.name}, {job.executor.workers} at a time"),
        ("to do", f"{len(todo)} images{f', the first of them {todo[0]}' if todo else ''}"),
        *([("done already", str(kept))] if kept else []),
        *([("shard", str(job.shard))] if job.shard else []),
    ]
    reporter.table(f"nothing was written into {output}", rows)
    reporter.finish({"output": str(output), "engine": job.executor.name, "kept": kept, "to_do": todo})
