"""A published table is a plan: a YAML file that says what is compared on what, how often, and how the table looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, fields, frozen, has

from privmed.errors import InputError, SettingsError
from privmed.files import whole_file
from privmed.limits import read_yaml
from privmed.settings import required, setting, structure

SCALARS = (str, int, float)


def _values(_: Any, attribute: Any, value: dict[str, Any]) -> None:
    for name, some in value.items():
        if not isinstance(some, list) or not some or not all(isinstance(v, SCALARS) for v in some):
            raise ValueError(f"{attribute.name}.{name} must be a list of text or numbers, got {some!r}")


@frozen(kw_only=True)
class Entry:
    """One row of a comparison: a method with its settings under a label."""

    label: str = required("as tables call it")
    method: str = setting("", "name of the method; empty for none at all (unprotected, unmarked)")
    settings: dict[str, Any] = setting(Factory(dict), "of the method")
    weights: str = setting("", "bundled weights by name, or a file; the method's own by default")
    control: str = setting("", "label of the entry it has to beat; margins are measured against it")
    paper: str = setting("", "what the papers' tables call it; its label by default, - for nothing")
    grid: dict[str, Any] = setting(Factory(dict), "values for this entry instead of the plan's", _values)
    seeds: list[int] = setting(Factory(list), "seeds of this entry instead of the plan's")
    dimensions: dict[str, Any] = setting(Factory(dict), "that its measurements get beside those of the grid")


@frozen(kw_only=True)
class View:
    """How records become a table: fields are metric, method, data and every dimension."""

    down: list[str] = setting(Factory(lambda: ["method"]), "fields whose values make the rows")
    across: list[str] = setting(Factory(list), "fields whose values make the columns; none: one figure a line")
    where: dict[str, Any] = setting(Factory(dict), "field: value or values that are shown, in this order")
    without: dict[str, Any] = setting(Factory(dict), "field: value or values that are left out")
    statistic: str = setting("mean", "over seeds: mean, median, best, worst")
    compared: bool = setting(False, "only figures that stand beside a paper's or a target")
    head: str = setting("", "of the first column")
    plot: str = setting("", "numeric dimension along which the page draws lines of this view")
    title: str = setting("", "above the table on the page")


@frozen(kw_only=True)
class Target:
    """What we aim at; never a paper's figure."""

    metric: str = required("what is measured")
    method: str = setting("", "label of the entry; all by default")
    data: str = setting("", "of which data set; all by default")
    dimensions: dict[str, Any] = setting(Factory(dict), "further dimensions it is meant for")
    at_least: float | None = setting(None, "the value to reach")
    at_most: float | None = setting(None, "the value not to exceed")

    @property
    def value(self) -> float:
        """The number."""
        return self.at_least if self.at_least is not None else self.at_most  # type: ignore[return-value]


@frozen(kw_only=True)
class Cited:
    """A file of values that a paper reports, and how its words translate into this plan's."""

    file: str = required("YAML of reported values, beside the plan")
    tables: list[str] = setting(Factory(list), "of these tables only")
    where: dict[str, Any] = setting(Factory(dict), "field: value or values that are cited, in the paper's words")
    unlike: str = setting("", "what else the paper's figures are of; they stand without a tick then")
    rename: dict[str, Any] = setting(Factory(dict), "field: {the paper's word: ours}")
    add: dict[str, Any] = setting(Factory(dict), "dimensions that all values get")


@frozen(kw_only=True)
class Average:
    """A mean over some values of a dimension, seed by seed: over exploiters, over covers, over data sets (dimension ``data``)."""

    dimension: str = required("that is averaged over, or data")
    values: list[Any] = required("of the dimension, or data sets; all must be there")
    name: str = required("what stands in their place")
    metrics: list[str] = required("that are averaged")


@frozen(kw_only=True)
class Worst:
    """The worst over some dimensions for each entry: over exploiters and defences, the judge that undoes a protector most.

    It is one combination of values, found by the mean over seeds; its figures stand under ``name`` in these dimensions, and the
    dimension ``judge`` says which it is.
    """

    dimensions: list[str] = required("that it is looked for over")
    metric: str = required("that decides")
    beside: list[str] = setting(Factory(list), "further metrics that are given of the same combination")
    name: str = setting("worst", "what stands in place of the values")
    without: dict[str, Any] = setting(Factory(dict), "dimension: values that do not count, e.g. names of averages")


@frozen(kw_only=True)
class Plan:
    """What is run and how it is shown."""

    suite: str = required("protection, watermark, covert, hiding, or a plugin's")
    name: str = setting("", "of the record files; the plan file's by default")
    title: str = setting("", "of the page")
    data: list[str] = required("data sets, folders under --data")
    reader: str = setting("", "of the data sets; found by looking at them by default")
    reader_settings: dict[str, Any] = setting(Factory(dict), "of the named reader")
    entries: list[Entry] = required("what is compared")
    grid: dict[str, Any] = setting(Factory(dict), "dimension: values", _values)
    seeds: list[int] = setting(Factory(lambda: [0]), "of all randomness")
    settings: dict[str, Any] = setting(Factory(dict), "of the suite")
    metrics: list[str] = setting(Factory(list), "installed metrics that are computed; the suite's own by default")
    margins: list[str] = setting(Factory(list), "metrics that are measured against the entry's control too")
    ratios: list[str] = setting(Factory(list), "metrics that are given as a share of the control's")
    averages: list[Average] = setting(Factory(list), "means over a dimension")
    worst: list[Worst] = setting(Factory(list), "the worst over some dimensions, after the means")
    views: dict[str, View] = setting(Factory(dict), "tables by name; the first one is shown where none is named")
    targets: list[Target] = setting(Factory(list), "what we aim at")
    reported: list[Cited] = setting(Factory(list), "what papers say")
    notes: list[str] = setting(Factory(list), "a reader must know")
    folder: str = setting("", "that cited files are looked for in; the plan's own by default")

    def entry(self, label: str) -> Entry | None:
        """The entry of that label."""
        return next((e for e in self.entries if e.label == label), None)


def read_plan(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        InputError: when it cannot be read or is not YAML.
        SettingsError: with all its mistakes at once.
    """
    import yaml

    path = Path(path)
    try:
        plain = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as a plan ({str(error).splitlines()[0]}).") from error
    plan = make_plan(plain, str(path))
    return evolve(plan, name=plan.name or path.stem, folder=plan.folder or str(path.parent))


def save_plan(plan: Plan, path: Path) -> None:
    """Keep a plan beside its records; files that it cites are then named by where they lie."""
    import yaml

    folder = str(Path(plan.folder).resolve()) if plan.folder else ""
    text = yaml.safe_dump(_lean(evolve(plan, folder=folder)), sort_keys=False, allow_unicode=True, width=120)
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _lean(value: Any) -> Any:
    """Plain data without fields that have their default. What stands in free mappings stays: there ``""``, 0 and false mean something."""
    if has(type(value)):
        named = {a.name: (getattr(value, a.name), a.default) for a in fields(type(value))}
        return {k: _lean(v) for k, (v, default) in named.items() if v != _made(default)}
    if isinstance(value, dict):
        return {k: _lean(v) for k, v in value.items()}
    return [_lean(v) for v in value] if isinstance(value, (list, tuple)) else value


def _made(default: Any) -> Any:
    return default.factory() if isinstance(default, Factory) else default


def make_plan(plain: Any, where: str = "plan") -> Plan:
    """A plan from plain data; one value may stand for a list of one.

    Raises:
        SettingsError: with all its mistakes at once.
    """
    if isinstance(plain, Mapping):
        plain = {k: [v] if k in ("data", "seeds") and not isinstance(v, list) else v for k, v in plain.items()}
        if isinstance(plain.get("grid"), Mapping):
            plain["grid"] = {k: v if isinstance(v, list) else [v] for k, v in plain["grid"].items()}
    plan = structure(Plan, plain, where)
    if mistakes := list(_mistakes(plan)):
        one = len(mistakes) == 1
        lines = mistakes[0] if one else "".join(f"\n  - {m}" for m in mistakes)
        raise SettingsError(f"{where}: {lines}" if one else f"{where}: {len(mistakes)} mistakes in the plan:{lines}")
    return plan


def _mistakes(plan: Plan) -> Any:
    """What does not fit together, beyond single settings."""
    labels = [e.label for e in plan.entries]
    for label in sorted({x for x in labels if labels.count(x) > 1}):
        yield f"two entries are called {label!r}."
    for entry in plan.entries:
        if entry.control and entry.control not in labels:
            yield f"entry {entry.label!r}: its control {entry.control!r} is no entry; there are {', '.join(labels)}."
        if unknown := set(entry.grid) - set(plan.grid):
            yield f"entry {entry.label!r}: varies {', '.join(sorted(unknown))}, which the plan's grid does not have."
    for n, target in enumerate(plan.targets):
        if (target.at_least is None) == (target.at_most is None):
            yield f"targets[{n}]: needs either at_least or at_most."
    for name, view in plan.views.items():
        if view.statistic not in ("mean", "median", "best", "worst"):
            yield f"views.{name}: statistic must be mean, median, best or worst, got {view.statistic!r}."
        if both := set(view.down) & set(view.across):
            yield f"views.{name}: {', '.join(sorted(both))} cannot be down and across."
