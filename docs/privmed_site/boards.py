"""Leaderboards: every figure of a published table, sortable, beside what papers report, with its provenance a click away."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from privmed.bench.figures import Figure, figures
from privmed.bench.published import Published, load_published
from privmed.bench.tables import to_markdown
from privmed.bench.words import number
from privmed_site.pages import Pages

WORDS = {
    "covert": "Covert analysis",
    "hiding": "Hiding",
    "detection": "Detection of hidden data",
    "protection": "Unlearnable data sets",
    "watermark": "Watermarks",
    "script": "Speed, costs, curves",
}
NOT_SHOWN = ("metric", "method", "data", "of", "over")


@frozen
class Board:
    """A published table with its figures, computed once, and the title of its page."""

    name: str
    table: Published
    figures: list[Figure]
    title: str

    @property
    def data(self) -> list[str]:
        """Names of the data sets, each once."""
        return list(dict.fromkeys(filter(None, (f.fields.get("data", "") for f in self.figures))))

    @property
    def dimensions(self) -> list[str]:
        """Names of the columns between data set and value."""
        return list(dict.fromkeys(n for f in self.figures for n in f.fields if n not in NOT_SHOWN))


def load_all(folder: Path) -> list[Board]:
    """All tables of a folder of records, by name."""
    return told_apart(load(path) for path in sorted(folder.glob("*.jsonl")))


def told_apart(boards: Iterable[Board]) -> list[Board]:
    """Boards of one title get what their names do not share added to it: "main" where that is nothing."""
    same: dict[str, list[Board]] = {}
    for board in boards:
        same.setdefault(board.title, []).append(board)
    out = []
    for title, group in same.items():
        words = [b.name.split("-") for b in group]
        shared = len(list(itertools.takewhile(lambda column: len(set(column)) == 1, zip(*words))))
        rests = ["-".join(w[shared:]) or "main" for w in words]
        out += [evolve(b, title=f"{title} ({rest})") if len(group) > 1 else b for b, rest in zip(group, rests)]
    return sorted(out, key=lambda board: board.name)


def load(path: Path) -> Board:
    """One table of records."""
    table = load_published(path)
    table = evolve(table, describe=functools.cache(table.describe))
    return Board(path.stem, table, figures(table.records, table.plan, table.describe), table.plan.title or path.stem)


def row(figure: Figure) -> dict[str, Any]:
    """A figure as a line of a leaderboard: words to read, and numbers to sort by."""
    s, paper = figure.summary, figure.reported
    met = figure.paper_met
    return {
        "method": figure.fields["method"] or "–",
        "settings": ", ".join(f"{k}={v}" for k, v in figure.settings.items() if k != "name"),
        "metric": figure.title,
        "better": figure.better,
        "data": figure.fields.get("data", ""),
        "fields": figure.fields,
        "value": s.value,
        "measured": number(s.value, figure.unit) + (f" ± {number(s.spread)}" if s.spread is not None else ""),
        "n": s.n,
        "counted": f"{s.n} {s.over}" if s.n > 1 and s.over else "–",
        "paper_value": "" if paper is None else paper.value,
        "paper": "–" if paper is None else number(paper.value),
        "met": "" if met is None else "met" if met else "not met",
        "source": "" if paper is None else ", ".join(filter(None, (paper.source, paper.unlike, paper.note))),
        "provenances": figure.provenances,
    }


def write(pages: Pages, boards: list[Board]) -> None:
    """A page for each table, and the list of them."""
    for board in boards:
        table = board.table
        views = [
            {
                "title": view.title or name,
                "table": to_markdown(table.records, evolve(table.plan, notes=[]), view, table.describe),
            }
            for name, view in table.plan.views.items()
            if name != "readme"
        ]
        pages.write(
            f"benchmarks/{board.name}.md",
            "board.md",
            board=board,
            views=[v for v in views if v["table"].count("\n") > 1],
            rows=[row(f) for f in board.figures],
            plan=table.plan,
            provenances=table.records.provenances,
        )
    suites: dict[str, list[Board]] = {suite: [] for suite in WORDS if any(b.table.plan.suite == suite for b in boards)}
    for board in boards:
        suites.setdefault(board.table.plan.suite, []).append(board)
    pages.write("benchmarks/index.md", "boards.md", suites=suites, WORDS=WORDS)
