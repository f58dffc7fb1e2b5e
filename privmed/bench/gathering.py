"""Records of the runs that a log holds, with averages, worst cases and margins."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve

from privmed.bench.contracts import Cell, Suite
from privmed.bench.plan import Plan
from privmed.bench.provenance import origin, provenance
from privmed.bench.records import Measurement, Provenance, Records
from privmed.bench.runlog import RunLog
from privmed.bench.summary import JUDGE, MARGIN, RATIO, UNPAIRED, averages, margins, worst


def gather(suite: Suite, log: RunLog, cells: dict[str, Cell]) -> Records:
    """Records of the runs that the log holds, margins over controls included."""
    plan, found = suite.context.plan, Records()
    made: dict[str, Provenance] = {}
    for key, cell in cells.items():
        if key not in log:
            continue
        run = log[key]
        kept = {"commit": "unknown", "device": "", **{name: run[name] for name in origin() if name in run}}
        word = json.dumps(kept, sort_keys=True)
        if word not in made:
            digests = {name: suite.context.dataset(name).digest() for name in plan.data}
            made[word] = evolve(
                provenance(digests, suite.weights()), **kept
            )  # logs of 0.2.0 and before keep commit and device alone
            found.provenances[made[word].id] = made[word]
        for value in run["values"]:
            found.measurements.append(_measured(suite, cell, value, made[word].id))
    return derived(plan, found, suite)


def derived(plan: Plan, records: Records, suite: Suite | type[Suite]) -> Records:
    """The records with all that a plan derives from what was measured - averages, worst cases, margins - made again.

    A margin that the plan still asks for stays where nothing can be paired: it may be of pairs that are not among them any more. One of two
    means does not, unless what it is of is gone.
    """
    kept = {
        (*m.cell, m.seed): m for m in records.measurements if not _derives(plan, m)
    }  # what a cell's neighbours say too
    measured = [*kept.values(), *averages(plan, list(kept.values()))]
    measured += worst(plan, measured, suite.quantity)
    there = {m.cell for m in measured}
    left = [m for m in records.measurements if _asked(plan, m) and (m.over != UNPAIRED or _of(m) not in there)]
    return with_margins(plan, Records([*measured, *left], records.provenances), suite)


def _asked(plan: Plan, m: Measurement) -> bool:
    """Whether a measurement is a margin, or ratio, that a plan asks for."""
    wanted = {MARGIN: plan.margins, RATIO: plan.ratios}.get(m.metric, [])
    entry = plan.entry(m.method)
    return m.dimensions.get("of") in wanted and entry is not None and m.dimensions.get("over") == entry.control


def _of(m: Measurement) -> tuple:
    """The cell that a margin is of."""
    plain = {k: v for k, v in m.dimensions.items() if k not in ("of", "over")}
    return evolve(m, metric=str(m.dimensions["of"]), dimensions=plain).cell


def _derives(plan: Plan, m: Measurement) -> bool:
    """Whether a plan made a measurement out of others."""
    if m.metric in (MARGIN, RATIO) or JUDGE in m.dimensions:
        return True
    return any(m.metric in a.metrics and m.fields.get(a.dimension) == a.name for a in plan.averages)


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
        each=value.get("each", []),
        provenance=origin,
    )
