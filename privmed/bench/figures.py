"""Figures: measurements of one cell summed up, joined with what papers report and what we aim at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from attrs import frozen

from privmed.bench.contracts import Quantity
from privmed.bench.plan import Plan, Target
from privmed.bench.records import Measurement, Records
from privmed.bench.reported import Reported, cited
from privmed.bench.summary import MARGIN, RATIO, Summary, summarise

Describe = Callable[[str], Quantity | None]


@frozen(kw_only=True)
class Figure:
    """One cell: a summary, what papers report beside it, and what we aim at."""

    fields: dict[str, Any]
    settings: dict[str, Any]
    summary: Summary
    unit: str
    title: str
    better: str
    reported: Reported | None = None
    target: Target | None = None
    provenances: tuple[str, ...] = ()
    judged: bool = True  # what exploiters reach on unprotected images is nobody's achievement

    def reaches(self, value: float) -> bool:
        """Whether it is at least as good as a value."""
        return self.summary.value >= value if self.better == "higher" else self.summary.value <= value

    @property
    def paper_met(self) -> bool | None:
        """Whether the paper's figure was met; None without one, and where it is of something else."""
        if self.reported is None or self.reported.unlike or not self.judged:
            return None
        return self.reaches(self.reported.value)

    @property
    def target_met(self) -> bool | None:
        """Whether our own target was met; None without one."""
        if self.target is None:
            return None
        if self.target.at_least is not None:
            return self.summary.value >= self.target.at_least
        return self.summary.value <= self.target.at_most  # type: ignore[operator]


def figures(
    records: Records,
    plan: Plan,
    describe: Describe,
    statistic: str = "mean",
    wanted: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> list[Figure]:
    """All cells of the records whose fields are wanted, joined with what is reported and aimed at."""
    cells: dict[tuple, list[Measurement]] = {}
    for m in records.measurements:
        if wanted(m.fields):
            cells.setdefault(m.cell, []).append(m)
    papers, known = cited(plan), cache(describe)  # whoever describes a metric looks through all that is installed
    return [_figure(found, plan, papers, known, statistic) for found in cells.values()]


def _figure(found: list[Measurement], plan: Plan, papers: list[Reported], describe: Describe, statistic: str) -> Figure:
    first = found[0]
    fields, entry = first.fields, plan.entry(first.method)
    quantity = describe(first.metric) or Quantity(title=first.metric, unit=first.unit)
    title = quantity.title
    if first.metric in (MARGIN, RATIO):
        of = describe(str(fields.get("of"))) or quantity
        words = "margin over" if first.metric == MARGIN else "relative to"
        better = of.better if first.metric == RATIO else "higher"
        quantity = Quantity(title=f"{of.title}, {words} {fields.get('over')}", better=better)
        title = quantity.title
    word = entry.paper if entry is not None and entry.paper else first.method
    printed = {**fields, "method": word}
    return Figure(
        fields=fields,
        settings=first.settings,
        summary=summarise(found, quantity, statistic),
        unit=first.unit,
        title=title,
        better=quantity.better,
        reported=next((r for r in papers if r.fits(printed)), None),
        target=next((t for t in plan.targets if _meant(t, fields)), None),
        judged=entry is None or bool(entry.method),
        provenances=tuple(dict.fromkeys(m.provenance for m in found)),
    )


def _meant(target: Target, fields: dict[str, Any]) -> bool:
    wanted = {"metric": target.metric, **target.dimensions}
    wanted |= {k: v for k, v in (("method", target.method), ("data", target.data)) if v}
    return all(fields.get(k, "") == v for k, v in wanted.items())
