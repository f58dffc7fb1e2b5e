"""Records of the runs that a log holds, with averages, worst cases and margins."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from privmed.bench.contracts import Cell, Suite
from privmed.bench.plan import Plan
from privmed.bench.provenance import provenance
from privmed.bench.records import Measurement, Provenance, Records
from privmed.bench.runlog import RunLog
from privmed.bench.summary import JUDGE, MARGIN, RATIO, averages, margins, worst


def gather(suite: Suite, log: RunLog, cells: dict[str, Cell]) -> Records:
    """Records of the runs that the log holds, margins over controls included."""
    plan, found = suite.context.plan, Records()
    made: dict[tuple, Provenance] = {}
    for key, cell in cells.items():
        if key not in log:
            continue
        run = log[key]
        origin = (run.get("commit", "unknown"), run.get("device", ""))
        if origin not in made:
            digests = {name: suite.context.dataset(name).digest() for name in plan.data}
            made[origin] = evolve(provenance(digests, suite.weights()), commit=origin[0], device=origin[1])
            found.provenances[made[origin].id] = made[origin]
        for value in run["values"]:
            found.measurements.append(_measured(suite, cell, value, made[origin].id))
    return derived(plan, found, suite)


def derived(plan: Plan, records: Records, suite: Suite | type[Suite]) -> Records:
    """The records with all that a plan derives from what was measured - averages, worst cases, margins - made again."""
    kept = {
        (*m.cell, m.seed): m for m in records.measurements if not _derives(plan, m)
    }  # what a cell's neighbours say too
    measured = [*kept.values(), *averages(plan, list(kept.values()))]
    measured += worst(plan, measured, suite.quantity)
    margins_ = [m for m in records.measurements if m.metric in (MARGIN, RATIO)]  # they stay where nothing can be paired
    return with_margins(plan, Records([*measured, *margins_], records.provenances), suite)


def _derives(plan: Plan, m: Measurement) -> bool:
    """Whether a plan made a measurement out of others."""
    if m.metric in (MARGIN, RATIO) or JUDGE in m.dimensions:
        return True
    return any(m.metric in a.metrics and m.dimensions.get(a.dimension) == a.name for a in plan.averages)


def with_margins(plan: Plan, records: Records, suite: Suite | type[Suite]) -> Records:
    """The records with the margins of their entries over their controls."""
    more = margins(plan, records.measurements, suite.quantity)
    return Records([*(m for m in records.measurements if m.metric not in (MARGIN, RATIO)), *more], records.provenances)


def _measured(suite: Suite, cell: Cell, value: dict[str, Any], origin: str) -> Measurement:
    quantity = suite.quantity(value["metric"])
    settings = {"name": cell.entry.method, **cell.entry.settings} if cell.entry.method else {}
    return Measurement(
        metric=value["metric"],
        method=cell.entry.label,
        settings=settings,
        data=cell.data,
        dimensions={
            k: v
            for k, v in {**cell.dimensions, **cell.entry.dimensions, **value.get("dimensions", {})}.items()
            if v is not None
        },
        seed=cell.seed,
        value=value["value"],
        unit=quantity.unit if quantity else "",
        n=value.get("n", 1),
        spread=value.get("spread"),
        over=value.get("over", ""),
        provenance=origin,
    )
