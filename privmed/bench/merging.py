"""Merging of what several machines have measured: run logs with run logs, records with records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from attrs import Factory, frozen

from privmed import registry
from privmed.bench.gathering import derived
from privmed.bench.plan import Plan
from privmed.bench.records import Records, merge_records, read_records
from privmed.bench.runlog import RunLog
from privmed.bench.summary import MARGIN, RATIO
from privmed.errors import InputError
from privmed.files import whole_file


@frozen(kw_only=True)
class Merged:
    """What has come of two files.

    Attributes:
        conflicts: in words, what the two disagree about.
        count: runs or measurements that there are now.
        left_out: labels in record files that the plan does not have.
    """

    conflicts: list[str]
    count: int
    left_out: list[str] = Factory(list)


def merge_files(
    first: Path, second: Path, out: Path, *, newer: bool = False, plan: Plan | None = None, force: bool = False
) -> Merged:
    """Merge two files of one kind.

    Args:
        first: run log or record file; where both know the same, it stays.
        second: another one.
        out: the merged file; it may be one of the two.
        newer: records of the second replace those of the first, whole cells with all their seeds.
        plan: of record files, what they were measured by: averages, worst cases, margins and ratios are made again over both, and
            rows of entries that it does not have (any more) are left out. Without it they stay as each file has them.
        force: overwrite.

    Returns:
        What has come of it.

    Raises:
        InputError: when one is missing, damaged, or of another kind than the other, or nothing in them is of the plan's entries.
        PrivmedError: when the suite of the plan is not installed.
    """
    kinds = {path: kind_of(path) for path in (first, second)}
    if len(set(kinds.values())) > 1:
        named = " and ".join(f"{path} is a {kind}" for path, kind in kinds.items())
        raise InputError(f"{named}; they do not merge.")
    overwrite = force or out.resolve() in (first.resolve(), second.resolve())
    if kinds[first] == "record file":
        old, new = read_records(first), read_records(second)
        left_out: set[str] = set()
        if plan is not None:
            known = {e.label for e in plan.entries}
            left_out = {m.method for m in (*old.measurements, *new.measurements)} - known
            old, new = (
                Records([m for m in one.measurements if m.method in known], one.provenances) for one in (old, new)
            )
            if not (old.measurements or new.measurements):
                raise InputError(f"{first}, {second}: nothing in them is of an entry of plan {plan.name}.")
        merged, conflicts = (old.updated(new), []) if newer else merge_records(old, new)
        if plan is not None:
            merged = derived(plan, merged, registry.load("suite", plan.suite))
            conflicts = [c for c in conflicts if not c.startswith((f"metric {MARGIN},", f"metric {RATIO},"))]
        with whole_file(out, overwrite=overwrite) as temporary:
            merged.save(temporary)
        return Merged(conflicts=conflicts, count=len(merged.measurements), left_out=sorted(left_out))
    if plan is not None:
        raise InputError(f"{first}: is a run log, which holds nothing that a plan derives. Leave the plan out.")
    with whole_file(out, overwrite=overwrite) as temporary:
        shutil.copyfile(first, temporary)
        log = RunLog(temporary)
        conflicts = log.merge(RunLog(second))
    return Merged(conflicts=conflicts, count=len(log))


def kind_of(path: Path) -> str:
    """Whether a file is a run log or a record file, by its first line.

    Raises:
        InputError: when it is neither, or not there.
    """
    try:
        with path.open(encoding="utf-8") as file:
            line = json.loads(file.readline() or "{}")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a run log or records ({error}).") from error
    for key, kind in (("record", "record file"), ("key", "run log")):
        if key in line:
            return kind
    raise InputError(f"{path}: is neither a run log nor a record file of privmed bench.")
