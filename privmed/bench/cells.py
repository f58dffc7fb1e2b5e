"""Runs of a plan as units of a job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from privmed.bench.contracts import Cell, Suite, Value
from privmed.bench.plan import Plan
from privmed.jobs.contracts import Place

Keyed = tuple[str, Cell]
Measured = list[tuple[list[Value], float]]


@frozen(kw_only=True)
class Measuring:
    """The task of measuring cells; its units are lists of them, its values what each gave and took, in seconds.

    In another process it opens the suite anew; the attributes are as :func:`privmed.bench.engine.run_plan` takes them.
    """

    plan: Plan
    root: Path
    out: Path
    device: str = "cpu"
    models: Path | None = None
    trust: bool = False
    suite: Suite | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (self.plan, self.root, self.out, self.device, self.models, self.trust)

    def open(self, place: Place) -> Callable[[list[Keyed]], Measured]:
        """The work."""
        suite = self.suite
        if suite is None:
            from privmed.bench.engine import open_suite

            device = place.device or self.device
            suite = open_suite(self.plan, self.root, self.out, device=device, models=self.models, trust=self.trust)
            suite.prepare()
        return lambda keyed: [self._measure(suite, cell) for _, cell in keyed]

    @staticmethod
    def _measure(suite: Suite, cell: Cell) -> tuple[list[Value], float]:
        start = time.perf_counter()
        values = suite.measure(cell)
        return values, time.perf_counter() - start

    def of(self, suite: Suite) -> Measuring:
        """The same with a suite that is open already, for this process."""
        return evolve(self, suite=suite)


def rebuilt(plan: Plan, root: Path, out: Path, device: str, models: Path | None, trust: bool) -> Measuring:
    """A task as it arrives in a worker."""
    return Measuring(plan=plan, root=root, out=out, device=device, models=models, trust=trust)


def groups(wanted: Iterable[Keyed], *, together: bool) -> Iterator[list[Keyed]]:
    """Cells that one worker measures one after the other: what their entry, data and seed cost is kept for all of them.

    Args:
        wanted: keys and cells, in the order of the table.
        together: group them; else each is alone, and a run that is killed costs no more than one.
    """
    if not together:
        yield from ([one] for one in wanted)
        return
    for _, some in itertools.groupby(wanted, key=lambda one: (one[1].entry.label, one[1].data, one[1].seed)):
        yield list(some)
