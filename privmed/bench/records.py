"""A measurement is a record, never a sentence: what was measured, of which method, on which data, along which dimensions.

Records are kept as JSON lines. Each line says what it is: ``{"record": "provenance", ...}`` where measurements come from,
``{"record": "measurement", ...}`` one number.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import attrs
from attrs import Factory, field, frozen

from privmed.errors import InputError, PrivmedError
from privmed.files import make_folder, whole_file
from privmed.limits import read_text
from privmed.settings import structure, unstructure

RESERVED = ("metric", "method", "data", "seed", "value")


def _finite(_: Any, attribute: attrs.Attribute, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{attribute.name} must be a finite number, got {value!r}")


def _named(_: Any, attribute: attrs.Attribute, value: str) -> None:
    if not value:
        raise ValueError(f"{attribute.name} must not be empty")


def _scalars(_: Any, attribute: attrs.Attribute, value: dict[str, Any]) -> None:
    for name, one in value.items():
        if name in RESERVED:
            raise ValueError(f"{attribute.name} must not hold {name!r}, which is a field of its own")
        if isinstance(one, bool) or not isinstance(one, (str, int, float)):
            raise ValueError(f"{attribute.name}.{name} must be text or a number, got {one!r}")


def _counted(_: Any, attribute: attrs.Attribute, value: int) -> None:
    if value < 0:
        raise ValueError(f"{attribute.name} must be at least 0, got {value!r}")


@frozen(kw_only=True)
class Measurement:
    """One number.

    Attributes:
        metric: name of what is measured.
        method: label of the benchmark entry it belongs to, as tables call it.
        settings: what the label stands for: the method's ``name`` and its settings.
        data: name of the data set.
        dimensions: further dimensions by name (exploiter, defence, hider, cover, source, target, channel, ...).
        seed: of the run; None for what has no seed, or sums up several.
        value: the number, in ``unit``.
        unit: "dB", "s", "" ...
        n: how many values went into it.
        spread: standard deviation of those over ``over``; None for a single value and for shares, whose interval follows from n.
        over: what ``n`` counts: "images", "seeds", ...
        each: the figures behind ``value``, in an order that it shares with what it is compared to; None where there is none.
        provenance: id of the :class:`Provenance` it comes from.
    """

    metric: str = field(validator=_named)
    method: str = ""
    settings: dict[str, Any] = Factory(dict)
    data: str = ""
    dimensions: dict[str, Any] = field(factory=dict, validator=_scalars)
    seed: int | None = None
    value: float = field(validator=_finite)
    unit: str = ""
    n: int = field(default=1, validator=_counted)
    spread: float | None = field(default=None, validator=_finite)
    over: str = ""
    each: list[float | None] = Factory(list)
    provenance: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """What a view can put down, across or into its filter."""
        return {"metric": self.metric, "method": self.method, "data": self.data, **self.dimensions}

    @property
    def cell(self) -> tuple:
        """Which figure it belongs to: all but seed and value."""
        return (self.metric, self.method, self.data, tuple(sorted(self.dimensions.items(), key=str)))


@frozen(kw_only=True)
class Provenance:
    """Where measurements come from."""

    command: str = ""
    commit: str = "unknown"
    date: str = ""
    device: str = ""
    threads: int = 0
    versions: dict[str, str] = Factory(dict)
    data: dict[str, str] = Factory(dict)
    weights: dict[str, str] = Factory(dict)
    note: str = ""

    @property
    def id(self) -> str:
        """A digest of all of it."""
        text = json.dumps(unstructure(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        versions = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        parts = [
            f"`{self.command}`" if self.command else "",
            f"commit {self.commit}",
            self.date,
            self.device,
            f"{self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else "",
            versions,
        ]
        return ", ".join(filter(None, parts)) + (f". {self.note.rstrip('.')}" if self.note else "")


@frozen
class Records:
    """Measurements in the order of their tables, and where they come from, by id."""

    measurements: list[Measurement] = Factory(list)
    provenances: dict[str, Provenance] = Factory(dict)

    def save(self, path: str | Path) -> Path:
        """Write JSON lines, whole or not at all."""
        path = Path(path)
        make_folder(path.parent)
        used = {m.provenance for m in self.measurements}
        lines = [
            {"record": "provenance", "id": key, **_lean(p)}
            for key, p in sorted(self.provenances.items())
            if key in used
        ]
        lines += [{"record": "measurement", **_lean(m)} for m in self.measurements]
        with whole_file(path, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), encoding="utf-8")
        return path

    def updated(self, new: Records) -> Records:
        """These records with newer ones in the place of those they replace: whole cells, all seeds."""
        replaced = {m.cell for m in new.measurements}
        kept = [m for m in self.measurements if m.cell not in replaced]
        return Records([*new.measurements, *kept], {**self.provenances, **new.provenances})


def read_records(path: str | Path) -> Records:
    """Read what :meth:`Records.save` wrote.

    Raises:
        InputError: for a file that cannot be read, and for the first line that is not a record, with its number.
    """
    path = Path(path)
    try:
        lines = read_text(path, "table_bytes").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as records ({error}).") from error
    found = Records()
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            plain = json.loads(line)
            kind = plain.pop("record")
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{where}: is not a record of privmed bench.") from error
        try:
            if kind == "provenance":
                key = str(plain.pop("id", ""))
                found.provenances[key] = structure(Provenance, plain, where)
            elif kind == "measurement":
                found.measurements.append(structure(Measurement, plain, where))
            else:
                raise InputError(f"{where}: no record {kind!r}; there are measurement and provenance.")
        except PrivmedError as error:
            raise InputError(str(error)) from error
    missing = {m.provenance for m in found.measurements} - set(found.provenances)
    if missing:
        raise InputError(f"{path}: measurements name a provenance that is not there: {', '.join(sorted(missing))}.")
    return found


def merge_records(first: Records, second: Records) -> tuple[Records, list[str]]:
    """Both, and in words every cell that the two disagree about; what the first says stays."""
    known = {(*m.cell, m.seed): m for m in first.measurements}
    more, conflicts = [], []
    for m in second.measurements:
        there = known.get((*m.cell, m.seed))
        if there is None:
            more.append(m)
        elif there.value != m.value:
            named = ", ".join(f"{k} {v}" for k, v in m.fields.items() if v != "")
            seed = "" if m.seed is None else f", seed {m.seed}"
            conflicts.append(f"{named}{seed}: {there.value:.6g} and {m.value:.6g}")
    merged = Records([*first.measurements, *more], {**second.provenances, **first.provenances})
    return merged, conflicts


def _lean(record: Any) -> dict[str, Any]:
    """Plain data without what has its default."""
    plain = unstructure(record)
    for a in attrs.fields(type(record)):
        default = a.default.factory() if isinstance(a.default, attrs.Factory) else a.default  # type: ignore[arg-type]
        if plain[a.name] == default:
            del plain[a.name]
    return plain


def known_records(path: Path) -> Records:
    """Records of an earlier edition; none where there is no file."""
    return read_records(path) if path.is_file() else Records()
