"""The words in a table's cells."""

from __future__ import annotations

from typing import Any

from privmed.bench.figures import Figure


def cell(figure: Figure | None) -> str:
    """One value with its spread and what it is held against, or a dash.

    That is the paper's value; our own target where there is none, or where it is of something else.
    """
    if figure is None:
        return "–"
    beside = [f"paper {reported_words(figure)}"] if figure.reported is not None else []
    if figure.target is not None and (figure.reported is None or figure.reported.unlike):
        beside.append(f"own target {target_words(figure)}")
    return measured_words(figure) + (f" ({'; '.join(beside)})" if beside else "")


def reported_words(figure: Figure) -> str:
    """The paper's value: with what it is of where that is something else, or with whether it was met."""
    one = figure.reported
    return number(one.value) + (f", {one.unlike}" if one.unlike else _mark(figure.paper_met))


def _mark(met: bool | None) -> str:
    """A tick, a cross, or nothing."""
    return "" if met is None else " ✓" if met else " ✗"


def measured_words(figure: Figure) -> str:
    s = figure.summary
    return number(s.value, figure.unit) + (f" ± {number(s.spread)}" if s.spread is not None else "")


def target_words(figure: Figure) -> str:
    target = figure.target
    sign = "≥" if target.at_least is not None else "≤"
    return f"{sign} {number(target.value)}{_mark(figure.target_met)}"


def number(value: float | None, unit: str = "") -> str:
    """A number as it is printed: as many digits as mean something."""
    if value is None:
        return "–"
    digits = 3 if abs(value) < 2 else 2 if abs(value) < 100 else 0
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
