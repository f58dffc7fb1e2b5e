"""Merging of what several machines have measured: run logs with run logs, records with records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from privmed import registry
from privmed.bench.gathering import derived
from privmed.bench.plan import Plan
from privmed.bench.records import Records, merge_records, read_records
from privmed.bench.runlog import RunLog
from privmed.errors import InputError
from privmed.files import whole_file


def merge_files(
    first: Path, second: Path, out: Path, *, newer: bool = False, plan: Plan | None = None, force: bool = False
) -> tuple[list[str], int]:
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
        In words what the two disagree about, and how many runs or measurements there are now.

    Raises:
        InputError: when one is missing, damaged, or of another kind than the other.
    """
    kinds = {path: kind_of(path) for path in (first, second)}
    if len(set(kinds.values())) > 1:
        named = " and ".join(f"{path} is a {kind}" for path, kind in kinds.items())
        raise InputError(f"{named}; they do not merge.")
    overwrite = force or out.resolve() in (first.resolve(), second.resolve())
    if kinds[first] == "record file":
        old, new = read_records(first), read_records(second)
        merged, conflicts = (old.updated(new), []) if newer else merge_records(old, new)
        if plan is not None:
            known = {e.label for e in plan.entries}
            own = Records([m for m in merged.measurements if m.method in known], merged.provenances)
            merged = derived(plan, own, registry.load("suite", plan.suite))
        with whole_file(out, overwrite=overwrite) as temporary:
            merged.save(temporary)
        return conflicts, len(merged.measurements)
    if plan is not None:
        raise InputError(f"{first}: is a run log, which holds nothing that a plan derives. Leave the plan out.")
    with whole_file(out, overwrite=overwrite) as temporary:
        shutil.copyfile(first, temporary)
        log = RunLog(temporary)
        conflicts = log.merge(RunLog(second))
    return conflicts, len(log)


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
