"""``privmed train``: a recipe in, weights with a card out."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml

from privmed.devices import pick_device
from privmed.errors import InputError, OutputError, SettingsError
from privmed.files import check_folder, make_folder, sweep, whole_file, writing
from privmed.jobs.lock import owned
from privmed.limits import read_text
from privmed.settings import unstructure
from privmed.training.loop import Trainer
from privmed.training.make import check_methods, make_task
from privmed.training.recipe import Recipe
from privmed.training.stages import Whole, read_stages, to_do
from privmed.training.start import load_start
from privmed.training.team import Team, check, together

Report = Callable[[int, dict[str, Any]], None]


def run(
    recipe: str | Path,
    *,
    overrides: list[str] | tuple[str, ...] = (),
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    seed: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train as a recipe says, stage by stage where it has several.

    Args:
        recipe: a YAML file.
        overrides: ``name=value`` pairs laid over it.
        out: folder for checkpoint, metrics and weights; ``runs/NAME`` by default.
        resume: go on from the checkpoint in ``out``; the result equals that of an uninterrupted run on the same machine. Stages that are
            done are left as they are.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` ...
        devices: that train together on this machine, each a part of every batch (extra ``privmed[fabric]``). The weights are those of one
            device but for rounding, for what dropout and latents draw, and for the statistics of batch normalisation, which each takes of
            its own part.
        nodes: machines that do, started by torchrun or Slurm.
        seed: replaces the recipe's.
        quiet: no progress bar.

    Returns:
        Name, steps, seconds, last validation figures, and the folder; of several stages the steps of all, and seconds and last
        figures of those trained now.

    Raises:
        InputError, SettingsError, OutputError: one sentence each; nothing is overwritten without ``resume``.
    """
    over = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    whole = read_stages(recipe, over)
    how = {"device": device, "devices": devices, "nodes": nodes, "quiet": quiet}
    folder = Path(out) if out else Path("runs") / whole.name
    if not whole.several:
        check(whole.stages[0].data.batch, devices, nodes)
        prepare(folder, resume)
        return _one(whole.stages[0], folder, **how)
    if nodes > 1:
        raise SettingsError(f"recipe {recipe}: several stages are trained on one machine. Leave the nodes out.")
    for stage in whole.stages:
        check(stage.data.batch, devices, nodes)
        check_methods(stage)
    check_folder(folder)
    results = []
    for stage, own, begun in to_do(whole.stages, folder, resume):
        prepare(own, begun)
        results.append(_one(stage, own, **how))
    return of_all(whole, folder, results)


def of_all(whole: Whole, out: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What all stages have come to: steps and names of all, the seconds of this run, and the figures of the last one trained."""
    about = {"name": whole.name, "out": str(out), "steps": sum(s.schedule.steps for s in whole.stages)}
    about |= {"seconds": sum(r["seconds"] for r in results), "stages": ", ".join(s.name for s in whole.stages)}
    return {**(results[-1] if results else {}), **about}


def _one(plan: Recipe, folder: Path, *, device: str, devices: int, nodes: int, quiet: bool) -> dict[str, Any]:
    """One stage, by one process or by a team."""
    if devices * nodes == 1:
        return train(plan, folder, device=device, quiet=quiet)
    work = functools.partial(train_in_team, plan, folder, quiet)
    with owned(folder, make=False) if nodes == 1 else nullcontext():  # all of a team would have to fail together
        return together(work, device=device, devices=devices, nodes=nodes)


def train_in_team(plan: Recipe, folder: Path, quiet: bool, team: Team, device: str) -> dict[str, Any]:
    """What each process of a team does."""
    return train(plan, folder, device=device, quiet=quiet, team=team)


def train(
    plan: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    quiet: bool = True,
    report: Report = lambda *_: None,
    team: Team | None = None,
) -> dict[str, Any]:
    """Train as a recipe says, from the checkpoint in a folder if there is one.

    Args:
        plan: the recipe.
        folder: for checkpoint, metrics and weights; made if it is not there.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` ...
        quiet: no progress bar.
        report: called with the number of steps done and the figures of each.
        team: of which this process is one; alone by default.

    Returns:
        As :func:`run`.

    Raises:
        InputError, SettingsError, OutputError, TrainingError: one sentence each.
    """
    torch.manual_seed(plan.seed)
    task = make_task(plan, pick_device(device))
    task.team = team or task.team
    load_start(task)
    if not task.team.first:
        trainer = Trainer(task, folder)
        return outcome(plan, folder, trainer, trainer.fit(lambda *_: None))
    with owned(make_folder(folder)) if task.team.size == 1 else nullcontext(make_folder(folder)):
        sweep(folder)  # what a killed run has left
        trainer = Trainer(task, folder)
        note(folder, plan)
        done = trainer.loop.done  # 0, unless it goes on from a checkpoint
        with Progress(folder / "metrics.jsonl", plan.schedule.steps, done, quiet) as progress:

            def both(step: int, figures: dict[str, Any]) -> None:
                progress(step, figures)
                report(step, figures)

            figures = trainer.fit(both)
    return outcome(plan, folder, trainer, figures)


def outcome(plan: Recipe, folder: Path, trainer: Trainer, figures: dict[str, Any]) -> dict[str, Any]:
    """What a training has come to."""
    steps, seconds = trainer.loop.done, round(trainer.seconds)
    return {"name": plan.name, "out": str(folder), "steps": steps, "seconds": seconds, **figures}


def prepare(folder: Path, resume: bool) -> None:
    """Say before any work why the output folder cannot be used."""
    checkpoint = folder / "checkpoint.pt"
    check_folder(folder)
    if resume and not checkpoint.is_file():
        raise InputError(f"{folder}: nothing to resume, there is no checkpoint.pt in it.")
    if not resume and checkpoint.exists():
        raise OutputError(f"{folder}: holds a training already. Go on with --resume, or choose another folder with -o.")


def note(folder: Path, recipe: Recipe) -> None:
    """Write down what is trained."""
    with whole_file(folder / "recipe.yaml", overwrite=True) as temporary:
        temporary.write_text(yaml.safe_dump(unstructure(recipe), sort_keys=False), encoding="utf-8")


def step_of(line: str) -> float:
    """The step that a line of metrics is of; infinite for one that was cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


class Progress:
    """Metrics as JSON lines, and a bar on a terminal."""

    def __init__(self, path: Path, total: int, done: int, quiet: bool) -> None:
        self.path, self.total, self.done, self.quiet = path, total, done, quiet

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        with writing(self.path):
            kept = read_text(self.path, "table_bytes").splitlines() if self.path.exists() else []
            kept = [line for line in kept if step_of(line) <= self.done] if self.done else []
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self.file = self.path.open("a", encoding="utf-8")
        console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.bar = Bar(*columns, console=console, disable=self.quiet or not console.is_terminal)
        self.bar.start()
        self.task = self.bar.add_task("", total=self.total, completed=self.done)
        return self

    def __call__(self, step: int, figures: dict[str, Any]) -> None:
        line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
        with writing(self.path):
            self.file.write(json.dumps({"step": step, **line}) + "\n")
            self.file.flush()
        words = "  ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, float))
        self.bar.update(self.task, completed=step, description=words)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        with writing(self.path):
            self.file.close()
