"""Schemas of files that people write or read, generated from the classes that check them."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import attrs

from privmed.bench.plan import Plan
from privmed.bench.records import Measurement, Provenance
from privmed.settings import describe
from privmed.training.recipe import Recipe
from privmed_site.methods import plain
from privmed_site.pages import Pages


def schema(cls: type) -> list[dict[str, Any]]:
    """A class and all those that it holds, outermost first."""
    found, queue = [], [cls]
    while queue:
        one = queue.pop(0)
        if any(one is f["cls"] for f in found):
            continue
        rows = describe(one)
        hints, inner = typing.get_type_hints(one), attributes(one)
        for line, field in zip(rows, attrs.fields(one)):
            nested = [c for c in _classes(hints[field.name]) if attrs.has(c)]
            queue += nested
            line["holds"] = [c.__name__ for c in nested]
            line["doc"] = plain(line["doc"] or inner.get(field.name, ""))
            line["required"] = field.default is attrs.NOTHING
            line["default"] = "" if line["holds"] or line["default"] in (None, "", [], {}) else line["default"]
        found.append(
            {
                "cls": one,
                "name": one.__name__,
                "about": plain(inspect.cleandoc(one.__doc__ or "").split("\n\n")[0]),
                "rows": rows,
            }
        )
    return found


def attributes(cls: type) -> dict[str, str]:
    """What the ``Attributes:`` of a docstring say of each."""
    out, last = {}, ""
    _, _, body = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    for line in body.splitlines():
        name, colon, words = line.strip().partition(": ")
        if colon and line.startswith("    ") and not line.startswith("     "):
            last, out[name] = name, words
        elif last and line.strip():
            out[last] += " " + line.strip()
    return out


def _classes(hint: Any) -> list[type]:
    return [hint] if isinstance(hint, type) else [c for part in typing.get_args(hint) for c in _classes(part)]


def write(pages: Pages) -> None:
    """The schema of recipes, of plans, and of records."""
    for name, title, words, classes in (
        (
            "recipes",
            "Recipes",
            "What `privmed train RECIPE.yaml` reads. Every setting can also be given as `--set name=value`. A recipe with `stages` "
            "holds what its [stages](../../training.md#several-stages) share, and a list of what each has of its own.",
            [Recipe],
        ),
        ("plans", "Plans", "What `privmed bench run PLAN.yaml` reads.", [Plan]),
        (
            "records",
            "Records",
            "What `privmed bench` writes: JSON lines in UTF-8. The field `record` says which class a line is of, `provenance` (with its "
            "`id`) or `measurement`; what has its default is left out. A measurement names its provenance by id.",
            [Measurement, Provenance],
        ),
    ):
        pages.write(
            f"reference/{name}.md",
            "schema.md",
            title=title,
            words=words,
            classes=[s for c in classes for s in schema(c)],
        )
