"""Records with the plan that says how they are shown."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from attrs import frozen

from privmed import registry
from privmed.bench.figures import Describe
from privmed.bench.plan import Plan, read_plan
from privmed.bench.records import Records, read_records
from privmed.errors import InputError


@frozen
class Published:
    """A table as it can be shown."""

    plan: Plan
    records: Records
    describe: Describe


def load_published(path: Path, plan: Path | None = None) -> Published:
    """Records and their plan: the one that is given, or the ``.yaml`` of that name beside the records or one folder up.

    Raises:
        InputError: when there is none, or a file cannot be read.
    """
    near = [path.with_suffix(".yaml"), path.parent.parent / f"{path.stem}.yaml"]
    source = plan or next((p for p in near if p.is_file()), None)
    if source is None:
        raise InputError(f"{path}: there is no plan {path.stem}.yaml beside it or one folder up. Name one with --plan.")
    read = read_plan(source)
    return Published(read, read_records(path), cache(registry.load("suite", read.suite).quantity))
