"""Several values of one figure as one: mean and spread over seeds, Wilson's interval of a share, paired margins over controls."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from attrs import evolve, frozen

from privmed.bench.contracts import Quantity
from privmed.bench.plan import Plan, Worst
from privmed.bench.records import Measurement

DATA = "data"
MARGIN = "margin"
RATIO = "ratio"
JUDGE = "judge"  # the dimension that says what a worst figure is of
PAIRED = "images, paired"  # a margin of two runs on the same images
UNPAIRED = "unpaired"  # a margin of two means
CONFIDENCE = 0.95


@frozen(kw_only=True)
class Summary:
    """One figure of a table."""

    value: float
    spread: float | None = None  # standard deviation, or half of a share's interval
    n: int = 1
    over: str = ""
    interval: tuple[float, float] | None = None


def summarise(found: Sequence[Measurement], quantity: Quantity | None = None, statistic: str = "mean") -> Summary:
    """Sum up the measurements of one cell.

    Args:
        found: of one cell, a seed each; a single one may sum up several values itself.
        quantity: whether it is a share, and which direction is better.
        statistic: mean, median, best or worst over the seeds.
    """
    values = [m.value for m in found]
    better = max if quantity is None or quantity.better == "higher" else min
    worse = min if better is max else max
    value = {"mean": statistics.fmean, "median": statistics.median, "best": better, "worst": worse}[statistic](values)
    if quantity is not None and quantity.share:
        n = sum(m.n for m in found)
        low, high = wilson(round(sum(m.value * m.n for m in found)), n)
        return Summary(value=value, spread=(high - low) / 2, n=n, over=found[0].over, interval=(low, high))
    if len(found) == 1:
        return Summary(value=value, spread=found[0].spread, n=found[0].n, over=found[0].over)
    return Summary(value=value, spread=statistics.stdev(values), n=len(values), over="seeds")


@cache
def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. Wilson, JASA 1927); everything is possible where nothing was seen."""
    from scipy.stats import binomtest

    if not n:
        return 0.0, 1.0
    found = binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def averages(plan: Plan, measurements: Sequence[Measurement]) -> list[Measurement]:
    """The means over a dimension, or over data sets, that a plan asks for, of each seed that has all their values.

    Each may be over what those before it have made: over data sets, then over covers.
    """
    out: list[Measurement] = []
    for average in plan.averages:
        groups: dict[tuple, dict[Any, Measurement]] = {}
        for m in [*measurements, *out]:
            value = m.fields.get(average.dimension)
            if m.metric in average.metrics and value in average.values:
                named = _under(m, average.dimension, average.name)
                groups.setdefault((named.cell, m.seed), {})[value] = named
        for found in groups.values():
            if len(found) == len(average.values):
                mean = statistics.fmean(m.value for m in found.values())
                out.append(evolve(next(iter(found.values())), value=mean, n=1, spread=None, over="", each=[]))
    return out


def _under(m: Measurement, dimension: str, name: str) -> Measurement:
    """A measurement with another value of a dimension, or of another data set."""
    if dimension == DATA:
        return evolve(m, data=name)
    return evolve(m, dimensions={**m.dimensions, dimension: name})


def worst(
    plan: Plan, measurements: Sequence[Measurement], quantity: Callable[[str], Quantity | None]
) -> list[Measurement]:
    """The figures of the worst combination over some dimensions that a plan asks for, of each entry and data set."""
    return [m for asked in plan.worst for m in _worst_of(asked, measurements, quantity(asked.metric))]


def _worst_of(asked: Worst, measurements: Sequence[Measurement], quantity: Quantity | None) -> list[Measurement]:
    over, left_out = asked.dimensions, {k: v if isinstance(v, list) else [v] for k, v in asked.without.items()}
    groups: dict[tuple, dict[str, list[Measurement]]] = {}
    for m in measurements:
        if m.metric not in (asked.metric, *asked.beside) or not all(d in m.dimensions for d in over):
            continue
        if any(m.dimensions.get(k) in v for k, v in left_out.items()):
            continue
        judge = ", ".join(str(m.dimensions[d]) for d in over)
        named = evolve(m, dimensions={**m.dimensions, **dict.fromkeys(over, asked.name)})
        groups.setdefault(evolve(named, metric=asked.metric).cell, {}).setdefault(judge, []).append(named)
    better = "higher" if quantity is None else quantity.better
    out = []
    for judges in groups.values():
        means = {j: statistics.fmean(v) for j, some in judges.items() if (v := _of(asked.metric, some))}
        if means:
            judge = (min if better == "higher" else max)(means, key=means.__getitem__)
            out += [evolve(m, dimensions={**m.dimensions, JUDGE: judge}) for m in judges[judge]]
    return out


def _of(metric: str, some: Sequence[Measurement]) -> list[float]:
    return [m.value for m in some if m.metric == metric]


def margins(
    plan: Plan, measurements: Sequence[Measurement], quantity: Callable[[str], Quantity | None]
) -> list[Measurement]:
    """By how much each entry beats its control, or what share of it it reaches: seed by seed where both were run with the same seeds.

    Of two runs on the same images, whose figures are kept one by one, the spread is half of the 95 % interval of the mean difference. Where
    they share no seed the margin is the difference (or ratio) of the two means, without a spread. A margin is positive where the
    entry is better. Measured ones that are there already stay where nothing can be paired.
    """
    cells: dict[tuple, list[Measurement]] = {}
    for m in measurements:
        cells.setdefault(m.cell, []).append(m)
    kept = {m.cell for m in measurements if m.metric in (MARGIN, RATIO)}
    out = []
    for mine in cells.values():
        entry = plan.entry(mine[0].method)
        if entry is None or not entry.control:
            continue
        for kind, wanted in ((MARGIN, plan.margins), (RATIO, plan.ratios)):
            if mine[0].metric in wanted:
                out += _against(kind, mine, _rival(cells, mine[0], entry.control), entry.control, kept, quantity)
    made = {m.cell for m in out}
    return [*(m for m in measurements if m.metric in (MARGIN, RATIO) and m.cell not in made), *out]


def _rival(cells: dict[tuple, list[Measurement]], first: Measurement, control: str) -> list[Measurement]:
    """The control's measurements of the same cell; of a control that lacks some dimensions, those where the others agree."""
    exact = evolve(first, method=control)
    if exact.cell in cells:
        return cells[exact.cell]
    if JUDGE in first.dimensions:  # its worst judge may be another
        return next((found for found in cells.values() if _but_judge(found[0]) == _but_judge(exact)), [])
    alike = [
        found
        for found in cells.values()
        if (found[0].metric, found[0].method, found[0].data) == (first.metric, control, first.data)
        and found[0].dimensions.items() <= first.dimensions.items()
    ]
    return max(alike, key=lambda found: len(found[0].dimensions), default=[])


def _but_judge(m: Measurement) -> tuple:
    return (
        evolve(m, dimensions={k: v for k, v in m.dimensions.items() if k != JUDGE}).cell
        if JUDGE in m.dimensions
        else ()
    )


def _against(
    kind: str,
    mine: list[Measurement],
    rival: list[Measurement],
    control: str,
    kept: set[tuple],
    quantity: Callable[[str], Quantity | None],
) -> list[Measurement]:
    first = mine[0]
    dimensions = {**first.dimensions, "of": first.metric, "over": control}
    about = evolve(first, metric=kind, dimensions=dimensions, spread=None, unit=first.unit if kind == MARGIN else "")
    found = quantity(first.metric)
    sign = -1 if found is not None and found.better == "lower" else 1

    def compare(a: float, b: float) -> float:
        return sign * (a - b) if kind == MARGIN else a / b

    if not rival or (kind == RATIO and not all(m.value for m in rival)):
        return []
    seeds = {m.seed: m.value for m in rival if m.seed is not None}
    paired = [m for m in mine if m.seed in seeds]
    if paired:
        alike = {m.seed: m.each for m in rival}
        return [
            evolve(about, seed=m.seed, value=compare(m.value, seeds[m.seed]), n=1, over="", each=[])
            if kind == RATIO
            else _margin(about, m, seeds[m.seed], alike[m.seed], sign)
            for m in paired
        ]
    if about.cell in kept:
        return []
    means = [statistics.fmean(m.value for m in some) for some in (mine, rival)]
    count = first.n if len(mine) == 1 else len(mine)
    return [evolve(about, seed=None, value=compare(*means), n=count, over=UNPAIRED, each=[])]


def _margin(about: Measurement, mine: Measurement, rival: float, each: list[float | None], sign: int) -> Measurement:
    """By how much one run beats another of the same seed; with half of an interval, where both keep figures of the same images.

    Equally many figures are taken for those of the same images: both runs are of one plan, one data set and one part of it.
    """
    plain = evolve(about, seed=mine.seed, value=sign * (mine.value - rival), n=1, over="", each=[])
    if len(mine.each) != len(each):
        return plain
    apart = [sign * (a - b) for a, b in zip(mine.each, each) if a is not None and b is not None]
    if len(apart) < 2:
        return plain
    return evolve(plain, value=statistics.fmean(apart), n=len(apart), spread=half_interval(apart), over=PAIRED, each=[])


def half_interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean, after Student."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
