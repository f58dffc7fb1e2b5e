"""Tables are views of records: which fields go down, which across, which are shown; Markdown, and the leaderboard for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from privmed.bench.figures import Describe, Figure, figures
from privmed.bench.plan import Plan, View
from privmed.bench.records import Provenance, Records
from privmed.bench.words import cell, measured_words, reported_words, target_words, word
from privmed.errors import SettingsError, did_you_mean

LIST = View(down=["method", "metric", "data"])


def view_of(plan: Plan, name: str | None) -> View:
    """A view by name; the plan's first one without, and a plain list where there is none.

    Raises:
        SettingsError: for a name that the plan does not have.
    """
    if name is None:
        return next(iter(plan.views.values()), LIST)
    if name not in plan.views:
        raise SettingsError(
            f"{plan.name}: no view {name!r}; there are {', '.join(plan.views) or 'none'}.{did_you_mean(name, plan.views)}"
        )
    return plan.views[name]


def shown(records: Records, plan: Plan, view: View, describe: Describe) -> list[Figure]:
    """The figures that a view shows."""
    found = figures(records, plan, describe, view.statistic, lambda fields: _passes(fields, view))
    if view.compared:
        found = [f for f in found if f.reported is not None or f.target is not None]
    order = _order(plan, view)
    return sorted(found, key=lambda f: [_place(order, name, f) for name in (*view.down, *view.across)])


def _passes(fields: dict[str, Any], view: View) -> bool:
    if any(fields.get(k, "") not in _listed(v) for k, v in view.where.items()):
        return False
    return not any(fields.get(k, "") in _listed(v) for k, v in view.without.items())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _order(plan: Plan, view: View) -> dict[str, list[Any]]:
    order = {"method": [e.label for e in plan.entries], "data": plan.data, **plan.grid}
    return order | {k: v for k, v in view.where.items() if isinstance(v, list)}


def _place(order: dict[str, list[Any]], name: str, figure: Figure) -> int:
    known, value = order.get(name, []), figure.fields.get(name, "")
    return known.index(value) if value in known else len(known)


def rows(records: Records, plan: Plan, view: View, describe: Describe) -> list[list[str]]:
    """A table as text cells; the first row is its head."""
    return arranged(shown(records, plan, view, describe), view)


def arranged(found: list[Figure], view: View) -> list[list[str]]:
    """Figures that a view shows as text cells; the first row is the head."""
    if not view.across:
        return _list(found, view)
    across = _unique(_key(f, view.across) for f in found)
    down = _unique(_key(f, view.down) for f in found)
    heads = _headings(view.across, across)
    cells = {(_key(f, view.down), _key(f, view.across)): f for f in found}
    first = [view.head, *[""] * (len(view.down) - 1)] if view.head else view.down
    seeds = {d: _seeds([f for f in found if _key(f, view.down) == d]) for d in down}
    counted = any(seeds.values())
    body = [
        [*map(word, d), *([seeds[d] or "–"] if counted else []), *(cell(cells.get((d, a))) for a in across)]
        for d in down
    ]
    return [[*first, *(["seeds"] if counted else []), *heads], *body]


def _seeds(found: list[Figure]) -> str:
    """How many seeds stand behind a row, as far as its cells are means over seeds."""
    counts = sorted({f.summary.n for f in found if f.summary.over == "seeds"})
    return "" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _list(found: list[Figure], view: View) -> list[list[str]]:
    down = [*view.down, *(_telling(found) if view == LIST else [])]
    head = [*down, "n", "paper", "measured here", "own target"]
    body = []
    for f in found:
        names = [f.title if name == "metric" else word(f.fields.get(name, "")) for name in down]
        counted = f"{f.summary.n} {f.summary.over}" if f.summary.n > 1 and f.summary.over else "–"
        paper = "–" if f.reported is None else reported_words(f)
        aim = "–" if f.target is None else target_words(f)
        body.append([*names, counted, paper, measured_words(f), aim])
    return [head, *body]


def _telling(found: list[Figure]) -> list[str]:
    """Dimensions without which lines of the list would be told apart by their values alone."""
    lines: dict[tuple, list[Figure]] = {}
    for f in found:
        lines.setdefault(_key(f, LIST.down), []).append(f)
    several = [group for group in lines.values() if len(group) > 1]
    names = _unique(name for group in several for f in group for name in f.fields if name not in LIST.down)
    return [n for n in names if any(len({f.fields.get(n, "") for f in group}) > 1 for group in several)]


def _key(figure: Figure, names: Sequence[str]) -> tuple:
    """Values of some fields; a metric is named by its title, so that margins over several controls are columns of their own."""
    return tuple(figure.title if n == "metric" else figure.fields.get(n, "") for n in names)


def _unique(keys: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(keys))


def _headings(names: list[str], across: list[tuple]) -> list[str]:
    """Column heads: what is the same in all columns is left out, unless nothing would be left."""
    vary = [n for n in range(len(names)) if names[n] == "metric" or len({a[n] for a in across if a[n] != ""}) > 1]
    return [", ".join(word(a[n]) for n in (vary or range(len(names))) if a[n] != "") for a in across]


def to_markdown(records: Records, plan: Plan, view: View, describe: Describe) -> str:
    """A Markdown table with notes and provenance underneath."""
    found = shown(records, plan, view, describe)
    first, *body = arranged(found, view)
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in (first, *body)]
    lines.insert(1, "|" + "---|" * len(first))
    below = [*plan.notes, *origins(found, records.provenances)]
    return "\n".join([*lines, "", *(f"{text}\n" for text in below)]).rstrip("\n")


def digest(tables: Sequence[tuple[Records, Plan, View, Describe]]) -> str:
    """Figures of several tables as one Markdown table, a row each, without notes: for a page that has room for no more."""
    lines = ["| method | figure | data | n | paper | measured here |", "|---|---|---|---|---|---|"]
    for records, plan, view, describe in tables:
        for f in shown(records, plan, view, describe):
            more = [
                word(f.fields[k])
                for k in view.down
                if k not in ("method", "metric", "data") and f.fields.get(k, "") != ""
            ]
            counted = f"{f.summary.n} {f.summary.over}" if f.summary.n > 1 and f.summary.over else "–"
            paper = "–" if f.reported is None else reported_words(f)
            cells = [
                str(f.fields["method"]),
                ", ".join([f.title, *more]),
                str(f.fields.get("data", "")),
                counted,
                paper,
                measured_words(f),
            ]
            lines.append("| " + " | ".join(map(_escaped, cells)) + " |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def origins(found: list[Figure], provenances: dict[str, Provenance]) -> list[str]:
    """Where the figures of a table come from: one sentence a provenance, which names its rows where there are several."""
    methods: dict[str, dict[str, None]] = {}
    for f in found:
        for key in f.provenances:
            methods.setdefault(key, {})[f.fields["method"]] = None
    several = len(methods) > 1
    out = []
    for key, names in methods.items():
        if key in provenances:
            out.append((f"{'; '.join(n or 'all' for n in names)}: " if several else "") + f"{provenances[key]}.")
    return out


def leaderboard(records: Records, plan: Plan, describe: Describe) -> dict[str, Any]:
    """All figures for programs, ranked within their column."""
    found = figures(records, plan, describe)
    columns: dict[tuple, list[Figure]] = {}
    for f in found:
        columns.setdefault(tuple(sorted((k, str(v)) for k, v in f.fields.items() if k != "method")), []).append(f)
    out = []
    for rivals in columns.values():
        ranked = sorted(rivals, key=lambda f: f.summary.value, reverse=rivals[0].better == "higher")
        out += [_line(f, 1 + ranked.index(f)) for f in rivals]
    return {"name": plan.name, "title": plan.title, "suite": plan.suite, "figures": out}


def _line(figure: Figure, rank: int) -> dict[str, Any]:
    s, line = figure.summary, {**figure.fields, "settings": figure.settings, "title": figure.title, "rank": rank}
    line |= {
        "value": s.value,
        "spread": s.spread,
        "n": s.n,
        "over": s.over,
        "unit": figure.unit,
        "better": figure.better,
    }
    if s.interval is not None:
        line["interval"] = list(s.interval)
    if figure.reported is not None:
        line["reported"] = {"value": figure.reported.value, "source": figure.reported.source, "met": figure.paper_met}
        more = {"note": figure.reported.note, "unlike": figure.reported.unlike}
        line["reported"] |= {k: v for k, v in more.items() if v}
    if figure.target is not None:
        line["own target"] = {"value": figure.target.value, "met": figure.target_met}
    return line
