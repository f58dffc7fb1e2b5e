"""Results with methods down and figures across: how people compare methods."""

from __future__ import annotations

import html

from privmed.evaluation.results import Figure, Results
from privmed.evaluation.tables import number, origin, own_target, paper


def columns(results: Results, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Names of the figures in the order of their first appearance, without those that begin with a left-out word."""
    names = dict.fromkeys(f.name for f in results.figures)
    return [n for n in names if not n.startswith(leave_out)] if leave_out else list(names)


def cell(figures: list[Figure], method: str, name: str) -> str:
    """One value with its spread and what it is held against, or a dash.

    That is the paper's value; our own target where there is none, or where it is of something else.
    """
    f = next((f for f in figures if f.method == method and f.name == name), None)
    if f is None:
        return "–"
    spread = f" ± {number(f.spread)}" if f.spread is not None else ""
    beside = [f"paper {paper(f)}"] if f.reported is not None else []
    if f.target is not None and (f.reported is None or f.unlike):
        beside.append(f"own target {own_target(f)}")
    return number(f.measured, f.unit) + spread + (f" ({'; '.join(beside)})" if beside else "")


def seeds(figures: list[Figure], method: str) -> str:
    """How many seeds stand behind the cells of a row, as far as they are means over seeds."""
    counts = sorted({f.n for f in figures if f.method == method and f.over == "seeds"})
    return "–" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def pivot(results: Results, leave_out: tuple[str, ...] = (), head: str = "published set") -> list[list[str]]:
    """Rows of cells; the first row is the head. Where figures are means over seeds, a column tells how many."""
    names = columns(results, leave_out)
    figures = [f for f in results.figures if f.name in names]
    methods = list(dict.fromkeys(f.method for f in results.figures))
    counted = any(f.over == "seeds" for f in figures)
    first = [head, *(["seeds"] if counted else []), *names]
    row = lambda m: [m, *([seeds(figures, m)] if counted else []), *(cell(figures, m, n) for n in names)]  # noqa: E731
    return [first, *map(row, methods)]


def to_pivot_markdown(results: Results, leave_out: tuple[str, ...] = (), head: str = "published set") -> str:
    """A Markdown table with its provenance underneath."""
    first, *rows = pivot(results, leave_out, head)
    lines = ["| " + " | ".join(row) + " |" for row in (first, *rows)]
    lines.insert(1, "|" + "---|" * len(first))
    return "\n".join([*lines, "", *(f"{note}\n" for note in results.notes), origin(results.provenance)])


def to_pivot_html(results: Results, leave_out: tuple[str, ...] = (), head: str = "published set") -> str:
    """The same as an HTML table."""
    first, *rows = pivot(results, leave_out, head)
    top = "".join(f"<th>{html.escape(c)}</th>" for c in first)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div style="overflow-x:auto"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
