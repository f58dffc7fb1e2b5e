"""A page for each installed method, generated from its class, its model cards and the records that it stands in."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from attrs import frozen

from privmed import registry, weights
from privmed.bench.tables import shown, view_of
from privmed.interfaces.abilities import ABILITIES, abilities
from privmed.settings import describe
from privmed_site.boards import Board, row
from privmed_site.pages import Pages

SECTIONS = ("Idea", "Formula", "Weak at")
SHOWN = 12  # figures of a table on the page of a method; the leaderboard has them all
ROLE = re.compile(r":[\w:]+:`~?([^`<]+?)(?: <[^`]+>)?`")
# How descriptions of settings tell the paper's value where the default is another.
PAPERS = (
    (r"^beyond the paper\b|; ours\b", "not in it"),
    (r"\bthe paper does not say\b", "not said"),
    (r"\bthe paper's competitors do not\b", "False"),
    (r"\bthe papers?: (\w+)", r"\1"),
    (r"\b(\w+) in the paper\b", r"\1"),
    (r"\bthe papers?'s? (?:U-Net has|is) (\w+)", r"\1"),
    (r"\bthe authors use (\w+)", r"\1"),
    (r"\bprinted: (\w+)|\b(\w+) as printed\b", r"\1\2"),
)
COMMANDS = {"hider": "hide", "analyzer": "analyze", "protector": "protect", "watermarker": "watermark"}


@frozen
class About:
    """What a method's module says of it.

    Attributes:
        headline: its first sentence.
        paper: citation, and how the method follows it.
        sections: paragraphs that begin with one of :data:`SECTIONS` and a colon.
    """

    headline: str
    paper: str
    sections: dict[str, str]


def about(cls: type) -> About:
    """Take the docstring of a method's module apart."""
    text = inspect.cleandoc(inspect.getmodule(cls).__doc__ or cls.__doc__ or "")
    formula = re.search(r"^Formula:\n((?: .*\n?)+)", text, re.MULTILINE)
    sections, rest = {}, []
    if formula:
        sections["Formula"], text = textwrap.dedent(formula[1]).strip("\n"), text.replace(formula[0], "")
    headline, *paragraphs = [" ".join(p.split()) for p in text.split("\n\n") if p.strip()] or [""]
    for paragraph in map(plain, paragraphs):
        name, colon, body = paragraph.partition(": ")
        if colon and name in SECTIONS:
            sections[name] = body
        else:
            rest.append(paragraph)
    return About(plain(headline), "\n\n".join(rest), sections)


def plain(text: str) -> str:
    """Markdown of a docstring: cross-references become code, since a page of a method stands by itself."""
    return ROLE.sub(r"`\1`", text).replace("``", "`")


def papers_value(doc: str) -> str:
    """The paper's value of a setting, where its description says that the default is another; else nothing."""
    return next((found.expand(value) for pattern, value in PAPERS if (found := re.search(pattern, doc))), "")


def figures_of(name: str, boards: list[Board]) -> list[dict[str, Any]]:
    """What the first view of each table shows of a method, papers' figures first, and how many more there are on its leaderboard."""
    out = []
    for board in boards:
        table = board.table
        mine = [f for f in board.figures if f.settings.get("name") == name]
        if not mine:
            continue
        view = view_of(table.plan, None)
        labels = {f.fields["method"] for f in mine}
        seen = [f for f in shown(table.records, table.plan, view, table.describe) if f.fields["method"] in labels]
        seen = sorted(seen, key=lambda f: f.reported is None)[:SHOWN]
        names = [n for n in (*view.down, *view.across) if n not in ("method", "metric", "data")]
        rows = [row(f) | {"of": ", ".join(str(f.fields[n]) for n in names if f.fields.get(n, "") != "")} for f in seen]
        out.append({"board": board, "rows": rows, "more": len(mine) - len(seen)})
    return out


def page(kind: str, name: str, boards: list[Board]) -> dict[str, Any]:
    """Everything that the page of a method shows."""
    cls = registry.load(kind, name)
    (info,) = [p for p in registry.plugins(kind) if p.name == name]
    cards = {n: weights.read_card(p, cls) for n, p in weights.bundled(cls).items()}
    return {
        "kind": kind,
        "name": name,
        "origin": info.origin,
        "cls": cls,
        "about": about(cls),
        "summary": plain(inspect.cleandoc(cls.__doc__ or "")),
        "settings": [row | {"paper": papers_value(row["doc"])} for row in describe(cls.Config)],
        "abilities": {n: n in abilities(cls) for n in ABILITIES[kind]},
        "cards": {n: (card, json.dumps(card, indent=2)) for n, card in cards.items()},
        "tables": figures_of(name, boards),
        "command": COMMANDS[kind],
        "file": Path(inspect.getfile(cls)).name,
    }


def write(pages: Pages, boards: list[Board]) -> None:
    """A page for each method of our own distributions, and the list of them."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for kind in registry.METHODS:
        for info in registry.plugins(kind):
            if info.status != "broken" and info.distribution in registry.FIRST_PARTY:
                made = page(kind, info.name, boards)
                listed.setdefault(kind, []).append(made)
                pages.write(f"methods/{kind}-{info.name}.md", "method.md", **made)
    pages.write("methods/index.md", "methods.md", kinds=listed)
