"""What papers report, as data: tables with their source, joined to measurements on dimensions.

A file holds one paper::

    paper: UMed
    cite: X. Lin et al., IJCAI 2024
    tables:
      - table: "1"
        scale: 0.01                     # printed in per cent
        where: {exploiter: unet}        # of all its values
        columns:
          - {metric: dice, data: BUSI}
        rows:
          - {method: em, values: [32.55]}
          - {method: umed, epsilon: 8/255, values: [{value: 28.49, note: one digit is doubtful}]}

What a value is of stands in the table's ``where``, its column and its row together; an empty text means that a dimension must not be
there, and ``null`` is a cell that the paper leaves empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import Factory, frozen

from privmed.bench.plan import Cited, Plan
from privmed.errors import InputError
from privmed.files import inside
from privmed.limits import read_yaml
from privmed.settings import required, setting, structure

STRICT = ("statistic",)  # dimensions that change what a figure is: named on both sides, or on neither


@frozen(kw_only=True)
class Table:
    """One table of a paper."""

    table: str = required("its number")
    about: str = setting("", "what it shows")
    scale: float = setting(1.0, "that printed values are multiplied with")
    where: dict[str, Any] = setting(Factory(dict), "fields of all values")
    columns: list[dict[str, Any]] = required("fields of each column")
    rows: list[dict[str, Any]] = required("fields of each row, and its values")


@frozen(kw_only=True)
class Paper:
    """The tables of one paper."""

    paper: str = required("short name")
    cite: str = setting("", "for a list of references")
    tables: list[Table] = required("tables")


@frozen(kw_only=True)
class Reported:
    """One printed number with its source."""

    metric: str
    value: float
    fields: dict[str, Any] = Factory(dict)
    source: str = ""
    note: str = ""
    unlike: str = ""

    def fits(self, fields: dict[str, Any]) -> bool:
        """Whether it is about the same thing as a measurement with these fields."""
        if self.metric != fields["metric"] or any(fields.get(k, "") != v for k, v in self.fields.items()):
            return False
        return all(fields.get(k) == self.fields.get(k) for k in STRICT)


def read_paper(path: str | Path) -> list[tuple[str, Reported]]:
    """All values of a file, each with the number of its table.

    Raises:
        InputError: when the file cannot be read, or a row has another length than the columns.
        SettingsError: with what is wrong in it.
    """
    import yaml

    path = Path(path)
    try:
        plain = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as reported values ({str(error).splitlines()[0]}).") from error
    paper = structure(Paper, plain, str(path))
    out = []
    for table in paper.tables:
        for row in table.rows:
            row = dict(row)
            values = row.pop("values", [])
            if len(values) != len(table.columns):
                raise InputError(
                    f"{path}: table {table.table}, row {row}: {len(values)} values for {len(table.columns)} columns."
                )
            out += [(table.table, r) for r in _row(paper.paper, table, row, values)]
    return out


def _row(paper: str, table: Table, row: dict[str, Any], values: list[Any]) -> list[Reported]:
    out = []
    for column, value in zip(table.columns, values):
        note = ""
        if isinstance(value, dict):
            value, note = value["value"], value.get("note", "")
        if value is None:
            continue
        fields = {**table.where, **row, **column}
        scale = fields.pop("scale", table.scale)
        metric = fields.pop("metric")
        source = f"{paper}, Table {table.table}" + (f", {fields['method']}" if "method" in fields else "")
        out.append(
            Reported(metric=metric, value=round(float(value) * scale, 10), fields=fields, source=source, note=note)
        )
    return out


def cited(plan: Plan) -> list[Reported]:
    """All values that a plan cites, in the plan's own words."""
    out = []
    for cite in plan.reported:
        path = inside(plan.folder or ".", cite.file, plan.name)
        for table, one in read_paper(path):
            if (not cite.tables or table in cite.tables) and _wanted(one, cite.where):
                out.append(_renamed(one, cite))
    return out


def _wanted(one: Reported, where: dict[str, Any]) -> bool:
    fields = {"metric": one.metric, **one.fields}
    return all(fields.get(k, "") in (v if isinstance(v, list) else [v]) for k, v in where.items())


def _renamed(one: Reported, cite: Cited) -> Reported:
    fields = {k: cite.rename.get(k, {}).get(v, v) for k, v in one.fields.items()}
    fields = {k: v for k, v in fields.items() if v is not None}
    return Reported(
        metric=cite.rename.get("metric", {}).get(one.metric, one.metric),
        value=one.value,
        fields={**fields, **cite.add},
        source=one.source,
        note=one.note,
        unlike=cite.unlike,
    )
