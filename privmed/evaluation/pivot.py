"""Results with methods down and figures across: how people compare methods."""

from __future__ import annotations

import html

from privmed.evaluation.results import Figure, Results, number, origin


def columns(results: Results, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Names of the figures in the order of their first appearance, without those that begin with a left-out word."""
    names = dict.fromkeys(f.name for f in results.figures)
    return [n for n in names if not n.startswith(leave_out)] if leave_out else list(names)


def cell(figures: list[Figure], method: str, name: str) -> str:
    """One value with its spread, or a dash."""
    f = next((f for f in figures if f.method == method and f.name == name), None)
    if f is None:
        return "–"
    spread = f" ± {number(f.spread)}" if f.spread is not None else ""
    paper = f" (paper {number(f.reported)})" if f.reported is not None else ""
    met = "" if f.met is None else " ✓" if f.met else " ✗"
    return number(f.measured, f.unit) + spread + paper + met


def pivot(results: Results, leave_out: tuple[str, ...] = (), head: str = "published set") -> list[list[str]]:
    """Rows of cells; the first row is the head."""
    names = columns(results, leave_out)
    methods = list(dict.fromkeys(f.method for f in results.figures))
    return [[head, *names], *([m, *(cell(results.figures, m, n) for n in names)] for m in methods)]


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
