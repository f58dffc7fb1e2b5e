"""The engine: expands a plan's grid, asks its suite for what the log lacks, and gathers records.

An interrupted run goes on where it stopped; machines can share the work by ``only`` and ``seeds`` and merge their logs afterwards.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from privmed import registry
from privmed.bench.cache import Cache, digest
from privmed.bench.cells import Measured, Measuring, groups
from privmed.bench.contracts import Cell, Metric, Suite, Value
from privmed.bench.data import Dataset
from privmed.bench.gathering import gather
from privmed.bench.plan import Plan
from privmed.bench.progress import Progress, Told
from privmed.bench.provenance import origin
from privmed.bench.records import Records
from privmed.bench.runlog import RunLog
from privmed.errors import InputError, SettingsError, WeightsError, did_you_mean
from privmed.files import inside, make_folder
from privmed.jobs import Job, Unit
from privmed.settings import structure

LOG = "runs.jsonl"


@define
class Context:
    """What a suite works with.

    Attributes:
        plan: what is run.
        root: folder of the data sets.
        out: folder of log, caches and pictures.
        device: where networks compute.
        models: folder of trained models.
        trust: whether models that are programs may run.
        progress: told how far it is.
    """

    plan: Plan
    root: Path
    out: Path
    device: str = "cpu"
    progress: Progress = lambda *_: None
    models: Path | None = None
    trust: bool = False
    suite: Suite = field(init=False, default=None)  # type: ignore[assignment]
    _sets: dict[str, Dataset] = field(init=False, factory=dict)

    @property
    def cache(self) -> Cache:
        """Of expensive intermediates."""
        return Cache(self.out / "cache")

    def dataset(self, name: str) -> Dataset:
        """A data set, read once: one of the plan's by its reader, photographs and the like by the first that recognises them."""
        from privmed.bench.readers import read_dataset

        if name not in self._sets:
            plan = self.plan
            how = (plan.reader, plan.reader_settings) if name in plan.data else ()
            self._sets[name] = read_dataset(self.within(self.root, name), *how)
        return self._sets[name]

    def within(self, folder: Path, name: str) -> Path:
        """The place that a name of the plan stands for; plans out of files may not name what lies elsewhere.

        Raises:
            InputError: when it would lie outside.
        """
        return inside(folder, name, self.plan.name) if self.plan.folder else folder / name

    def weights(self, name: str) -> str:
        """Where the weights of an entry are: in the folder of trained models, if a file there is called so; else as they are named."""
        near = None if not name or not self.models or Path(name).is_absolute() else self.within(self.models, name)
        return str(near) if near is not None and near.is_file() else name

    def metrics(self, measures: str) -> list[Metric]:
        """The plan's metrics that compare ``"images"`` or ``"masks"``."""
        found = [registry.part("metric", name) for name in self.plan.metrics or type(self.suite).metrics]
        return [m for m in found if m.measures == measures]

    def expand(self) -> Iterator[Cell]:
        """The plan's grid: entries, data sets and seeds outside, since what they cost is shared by the rest."""
        plan = self.plan
        for entry in plan.entries:
            grid = {**{k: list(v) for k, v in type(self.suite).grid.items()}, **plan.grid, **entry.grid}
            for data, seed in itertools.product(plan.data, entry.seeds or plan.seeds):
                for values in itertools.product(*grid.values()):
                    yield Cell(entry=entry, data=data, seed=seed, dimensions=dict(zip(grid, values)))


def open_suite(
    plan: Plan,
    root: Path,
    out: Path,
    *,
    device: str = "cpu",
    models: Path | None = None,
    trust: bool = False,
    progress: Progress = lambda *_: None,
) -> Suite:
    """The suite of a plan, its settings and methods checked.

    Raises:
        SettingsError: for settings, dimensions or metrics that do not exist.
        MethodNotFoundError, PluginError: for methods or parts that cannot be used.
    """
    cls = registry.load("suite", plan.suite)
    if unknown := set(plan.grid) - set(cls.grid):
        first = sorted(unknown)[0]
        raise SettingsError(
            f"{plan.name or 'plan'}: suite {plan.suite} varies {', '.join(cls.grid) or 'nothing'}, not {first}."
            f"{did_you_mean(first, cls.grid)}"
        )
    for metric in plan.metrics:
        registry.load("metric", metric)
    for entry in plan.entries:
        if entry.method and entry.method not in cls.baselines:
            registry.load(cls.methods, entry.method)
    context = Context(plan, root, out, device=device, models=models, trust=trust, progress=progress)
    suite = cls(structure(cls.Config, plan.settings, f"{plan.name or 'plan'}: settings"), context)
    context.suite = suite
    return suite


@frozen
class Finished:
    """What came out of a plan: records, and pictures with their captions for the page."""

    records: Records
    pictures: list[tuple[str, Path]]


def run_plan(
    plan: Plan,
    root: str | Path,
    out: str | Path,
    *,
    only: list[str] | None = None,
    seeds: list[int] | None = None,
    collect: bool = False,
    device: str = "cpu",
    models: Path | None = None,
    trust: bool = False,
    progress: Progress = lambda *_: None,
    job: Job | None = None,
) -> Finished:
    """Run what the log in ``out`` lacks, and gather the records of all that it holds.

    Args:
        plan: what is compared.
        root: folder with the plan's data sets.
        out: folder for the log, caches and records; one folder may serve many plans.
        only: labels of entries that are run now; the others are gathered from the log alone, and left out where their weights are not here.
        seeds: run these instead of the plan's.
        collect: run nothing.
        device: where networks compute.
        models: folder of trained models, for suites that need some.
        trust: whether models that are programs may run, see :func:`privmed.oracles.load_oracle`.
        progress: told how far it is.
        job: where cells are measured; one after the other in this process by default.

    Raises:
        SettingsError: for labels that the plan does not have, and everything :func:`open_suite` refuses.
    """
    out = Path(out)
    if unknown := [label for label in only or [] if plan.entry(label) is None]:
        there = [e.label for e in plan.entries]
        raise SettingsError(
            f"--only {unknown[0]!r}: {plan.name or 'the plan'} has no such entry; there are {'; '.join(there)}."
        )
    if seeds:
        plan = evolve(plan, seeds=seeds, entries=[evolve(e, seeds=[]) for e in plan.entries])
    told = Told(progress)
    opened = functools.partial(
        open_suite, root=Path(root), out=out, device=device, models=models, trust=trust, progress=told.within
    )
    suite = opened(plan)
    with _emptied_again(out):
        try:
            suite.prepare()
        except WeightsError:
            if not only:
                raise
            plan = alone(plan, only)
            suite = opened(plan)
            suite.prepare()
        task = Measuring(plan=plan, root=Path(root), out=out, device=device, models=models, trust=trust).of(suite)
        return _finish(suite, out, only, collect, told, task, job or Job("bench", strict=True))


def alone(plan: Plan, labels: list[str]) -> Plan:
    """A plan of some of its entries, without what they are held against where that is not among them."""
    kept = [e for e in plan.entries if e.label in labels]
    return evolve(plan, entries=[e if e.control in labels else evolve(e, control="") for e in kept])


@contextmanager
def _emptied_again(out: Path) -> Iterator[None]:
    """Make the folder of the results, and take it away again where an error leaves nothing in it."""
    first = next((p for p in (*reversed(out.absolute().parents), out.absolute()) if not p.exists()), None)
    make_folder(out)
    try:
        yield
    except BaseException:
        place = out.absolute()
        while first is not None and place.is_relative_to(first) and not any(place.iterdir()):
            place.rmdir()
            place = place.parent
        raise


def _finish(
    suite: Suite, out: Path, only: list[str] | None, collect: bool, told: Told, task: Measuring, job: Job
) -> Finished:
    """Run the cells that the log lacks, and gather."""
    log = RunLog(out / LOG)
    cells = list(suite.cells())
    keys = [key_of(suite, cell) for cell in cells]
    wanted = [(k, c) for k, c in zip(keys, cells) if not collect and (not only or c.entry.label in only)]
    told.total = len(wanted)

    def units() -> Iterator[Unit]:
        for group in groups(wanted, together=job.executor.workers != 1):
            log.refresh()  # others may work in this folder
            lacking = [(key, cell) for key, cell in group if key not in log]
            if lacking:
                told.runs(len(group) - len(lacking), words(lacking[0][1]))
                yield Unit(words(lacking[0][1]), lacking)
            else:
                told.runs(len(group), "")

    def keep(unit: Unit, found: Measured) -> None:
        for (key, cell), (values, seconds) in zip(unit.payload, found):
            log.add(key, **entry_of(suite, cell, checked(cell, values)), seconds=round(seconds, 3))
        told.runs(len(unit.payload), unit.id)

    job.run(task, units(), keep)
    return Finished(gather(suite, log, dict(zip(keys, cells))), suite.pictures())


def words(cell: Cell) -> str:
    """A cell for people."""
    return ", ".join([cell.entry.label, cell.data, *map(str, cell.dimensions.values()), f"seed {cell.seed}"])


def key_of(suite: Suite, cell: Cell) -> str:
    """What tells one run from all others. A label is only a word: two plans share the runs that they have in common."""
    about = {
        "suite": suite.name,
        "method": cell.entry.method,
        "settings": cell.entry.settings,
        "weights": cell.entry.weights,
        "data": cell.data,
        "dimensions": cell.dimensions,
        "seed": cell.seed,
        **suite.identity(cell),
    }
    return digest(about)


def checked(cell: Cell, values: list[Value]) -> list[Value]:
    """The values of a run, all of them numbers.

    Raises:
        InputError: for one that is not finite, naming the metric and the cell.
    """
    for value in values:
        if not math.isfinite(value.value):
            raise InputError(f"{words(cell)}: {value.metric} is {value.value}, which is nothing to publish.")
    return values


def entry_of(suite: Suite, cell: Cell, values: list[Value]) -> dict[str, Any]:
    """A run as the log keeps it."""
    plain = [
        {
            k: v
            for k, v in (
                ("metric", x.metric),
                ("value", x.value),
                ("n", x.n),
                ("spread", x.spread),
                ("over", x.over),
                ("dimensions", x.dimensions),
                ("each", x.each),
            )
            if v not in (None, "", {}, [])
        }
        for x in values
    ]
    about = {"label": cell.entry.label, "method": cell.entry.method, "settings": cell.entry.settings}
    run = {"suite": suite.name, "entry": about, "data": cell.data, "dimensions": cell.dimensions, "seed": cell.seed}
    return {**run, "values": plain, **origin()}


def records_beside(out: Path, plan: Plan) -> Path:
    """Where the records of a plan lie in an output folder."""
    return out / f"{plan.name or 'plan'}.jsonl"
