"""Records of what a script measures, for tables that no suite runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import evolve

from privmed.bench.provenance import provenance
from privmed.bench.records import Measurement, Records, known_records


def publish(path: Path, found: Iterable[Measurement], *, data: dict[str, str] | None = None, note: str = "") -> Path:
    """Write measurements with this run's provenance; those of an earlier edition that were not measured again stay.

    Args:
        path: the record file.
        found: measurements without provenance.
        data: digests of the data sets by name.
        note: what else a reader must know of this run.
    """
    origin = evolve(provenance(data), note=note)
    new = Records([evolve(m, provenance=origin.id) for m in found], {origin.id: origin})
    return known_records(path).updated(new).save(path)


def measured(metric: str, method: str, value: float, data: str = "", **more: Any) -> Measurement:
    """A measurement; what is no field of one is a dimension."""
    fields = {k: more.pop(k) for k in ("unit", "n", "spread", "over") if k in more}
    return Measurement(metric=metric, method=method, value=value, data=data, dimensions=more, **fields)
