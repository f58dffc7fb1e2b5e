"""``privmed hide``, ``analyze`` and ``recover`` on folders."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from attrs import fields, frozen

from privmed.cli.common import Reporter, bar, in_use, resumable
from privmed.cli.engines import (
    Address,
    Batch,
    DryRun,
    Engine,
    MaxFailures,
    Part,
    Resume,
    RetryFailed,
    Workers,
    job_of,
    preview,
)


@frozen(kw_only=True)
class Several:
    """The options that a command has for folders."""

    engine: str | None = None
    workers: str | None = None
    address: str | None = None
    shard: str | None = None
    max_failures: int | None = None
    retry_failed: bool = False
    dry_run: bool = False
    resume: bool = False
    batch: int = 1

    def check_unused(self, path: Path) -> None:
        """Refuse them for a single file.

        Raises:
            SettingsError: naming the first that was given.
        """
        from privmed.errors import SettingsError

        for option in fields(type(self)):
            if getattr(self, option.name) != option.default:
                word = option.name.replace("_", "-")
                raise SettingsError(f"--{word}: is for folders, and {path} is none. Leave it out.")


NONE = Several()
OPTIONS = {
    "resume": Resume,
    "engine": Engine,
    "workers": Workers,
    "address": Address,
    "shard": Part,
    "max_failures": MaxFailures,
    "retry_failed": RetryFailed,
    "dry_run": DryRun,
    "batch": Batch,
}
"""Those options, in the order of the help."""


def for_folders(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for folders where it has the parameter ``several``, which gathers them."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name != "several":
            parameters.append(parameter)
            continue
        for name, annotation in OPTIONS.items():
            default = getattr(NONE, name)
            parameters.append(inspect.Parameter(name, parameter.kind, default=default, annotation=annotation))

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        command(several=Several(**{name: given.pop(name) for name in OPTIONS}), **given)

    gathered.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    gathered.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return gathered


def refuse_force(force: bool) -> None:
    """Whole folders are not overwritten.

    Raises:
        SettingsError: when ``--force`` was given.
    """
    from privmed.errors import SettingsError

    if force:
        raise SettingsError("--force: is for single files. Choose another folder, or go on with --resume.")


def on_folder(
    command: str,
    task: Any,
    folder: Path,
    output: Path,
    several: Several,
    reporter: Reporter,
    *,
    device: str,
    about: dict[str, Any],
    suffix: str = ".png",
    covers: Path | None = None,
) -> None:
    """Do a task of ``privmed.covert.files`` with every image of a folder."""
    from privmed.data.exchange import Each, exchange, photographs_for
    from privmed.data.folders import ImageFolder
    from privmed.data.release import check_apart
    from privmed.devices import pick_device

    job = job_of(
        command,
        reporter,
        engine=several.engine,
        workers=several.workers,
        address=several.address,
        device=pick_device(device),
        shard=several.shard,
        max_failures=several.max_failures,
        retry_failed=several.retry_failed,
        batch=several.batch,
        about={"suffix": suffix},
    )
    resume = several.resume or several.retry_failed
    if covers is not None and covers.is_dir():
        check_apart(ImageFolder(covers), output)  # or stegos would be photographs the next time
    release, items, left = exchange(folder, output, about, job=job, resume=resume, suffix=suffix)
    try:
        photographs = None if covers is None else photographs_for(release, items, covers, task.seed)
        items = job.part(items, [release.name(item) for item in items])
        if several.dry_run:
            return preview(reporter, job, output, *release.preview(items))
        with release, resumable(output), bar(reporter, command) as tick:
            outcome = release.run(items, Each(task, release.source.path, photographs, covers), tick)
            release.finish(items, outcome.failed)
    finally:
        release.work.leave()
    warned = sum(bool(line.get("warnings")) for line in release.lines.values())
    rows = [("images", str(len(release.lines)) + (f" ({outcome.kept} from before)" if outcome.kept else ""))]
    rows += [("with warnings", f"{warned}, named in {release.manifest}")] if warned else []
    rows += [("manifest", str(release.manifest))]
    reporter.table(f"{command}: {output}", rows)
    reporter.left_out(outcome.failed)
    if left:
        name, why = left[0]
        reporter.say(f"{len(left)} other files were left out, the first of them {name}: {why}.")
    reporter.finish(
        {
            "output": str(output),
            "manifest": str(release.manifest),
            "images": len(release.lines),
            "with_warnings": warned,
            "failed": [{"file": name, "reason": why} for name, why in outcome.failed],
            "left": [{"file": name, "reason": why} for name, why in left],
        }
    )
    if outcome.failed:
        raise typer.Exit(1)


def about_of(**methods: Any) -> dict[str, Any]:
    """What the manifest says of methods: their names, settings and weights."""
    from privmed.settings import unstructure

    used = {kind: method for kind, method in methods.items() if method is not None}
    named = {kind: {"name": method.name, "config": unstructure(method.config)} for kind, method in used.items()}
    return {**named, "weights": in_use(**used)}
