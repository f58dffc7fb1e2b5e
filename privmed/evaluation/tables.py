"""Figures as tables: Markdown for documents, HTML for pages.

A tick stands right behind what it speaks of: behind a paper's value when that was met, behind our own target, named so, when that was.
"""

from __future__ import annotations

import html

from privmed.evaluation.results import Curve, Figure, Provenance, Results

COLUMNS = ("method", "figure", "data", "mean of", "paper", "measured here", "own target")


def number(value: float | None, unit: str = "") -> str:
    """A number as it is printed: as many digits as mean something."""
    if value is None:
        return "–"
    digits = 3 if abs(value) < 2 else 2 if abs(value) < 100 else 0
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def mark(met: bool | None) -> str:
    """A tick, a cross, or nothing."""
    return "" if met is None else " ✓" if met else " ✗"


def paper(f: Figure) -> str:
    """The paper's value: with what it is of where that is something else, or with whether it was met."""
    if f.reported is None:
        return "–"
    return number(f.reported) + (f", {f.unlike}" if f.unlike else mark(f.paper_met))


def own_target(f: Figure) -> str:
    """Our own target, and whether it was met."""
    return "–" if f.target is None else f"{'≥' if f.better == 'higher' else '≤'} {number(f.target)}{mark(f.met)}"


def cells(f: Figure) -> list[str]:
    """One row of the table."""
    spread = f" ± {number(f.spread)}" if f.spread is not None else ""
    over = f"{f.n} {f.over}" if f.n > 1 else "–"
    value = f"{number(f.measured, f.unit)}{spread}"
    return [f.method, f.name, f.data, over, paper(f), value, own_target(f)]


def to_markdown(results: Results, *, headline: bool = False) -> str:
    """A Markdown table with its provenance underneath; ``headline`` keeps what has a published figure or a target beside it."""
    figures = [f for f in results.figures if not headline or f.reported is not None or f.target is not None]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(f)) + " |" for f in figures]
    return "\n".join([*lines, "", *(f"{note}\n" for note in results.notes), origin(results.provenance)])


def origin(p: Provenance) -> str:
    """The provenance as one sentence."""
    versions = ", ".join(f"{k} {v}" for k, v in p.versions.items())
    return f"`{p.command}` at commit {p.commit}, {p.date}, {p.device}, {p.threads} thread(s), {versions}."


def to_html(results: Results, extra: str = "") -> str:
    """A self-contained page; ``extra`` is HTML above the table of all figures."""
    rows = "".join(
        f'<tr class="{"" if f.met is None else "met" if f.met else "missed"}">'
        + "".join(f"<td>{html.escape(c)}</td>" for c in cells(f))
        + "</tr>"
        for f in results.figures
    )
    head = "".join(f"<th>{html.escape(c)}</th>" for c in COLUMNS)
    notes = "".join(f"<p>{html.escape(n)}</p>" for n in [*results.notes, origin(results.provenance).replace("`", "")])
    curves = "".join(curve_svg(c) for c in results.curves)
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:3rem auto;padding:0 1rem;color:#1b2430;background:#fff}"
        "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.45rem .7rem;border-bottom:1px solid #d9dee5}"
        ".met td:last-child{color:#18794e}.missed td:last-child{color:#b42318}p{color:#5b6675;font-size:.9rem}"
        "@media(prefers-color-scheme:dark){body{background:#12161c;color:#e6eaf0}th,td{border-color:#2c3542}}"
    )
    title = html.escape(results.title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1>{extra}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{curves}{notes}</html>\n"
    )


def curve_svg(curve: Curve, width: int = 640, height: int = 220) -> str:
    """A line chart as inline SVG."""
    xs, ys = [p[0] for p in curve.points], [p[1] for p in curve.points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    place = [
        f"{50 + (x - x0) / ((x1 - x0) or 1) * (width - 60):.1f},{height - 30 - (y - y0) / ((y1 - y0) or 1) * (height - 50):.1f}"
        for x, y in zip(xs, ys)
    ]
    label = html.escape(f"{curve.name}: {curve.y} over {curve.x}, {number(y0)} to {number(y1)}")
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" style="max-width:{width}px">'
        f'<polyline points="{" ".join(place)}" fill="none" stroke="#2f6fde" stroke-width="2"/></svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )
