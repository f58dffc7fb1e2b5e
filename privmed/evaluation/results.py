"""One schema and one writer for every figure privmed publishes: JSON first; Markdown and HTML are rendered from it in ``tables``.

A table is a list of figures, each with what a paper reported beside what was measured here, and the provenance of the whole: the
command, the commit, the versions, the machine, the data, the date. Nobody types a number into a document.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import Factory, evolve, frozen

from privmed.errors import InputError
from privmed.files import make_folder, whole_file
from privmed.limits import read_json
from privmed.settings import structure, unstructure

SCHEMA = 1


@frozen(kw_only=True)
class Figure:
    """One number: what it is, what a paper says, what was measured.

    Attributes:
        name: what is measured, with its channel or range.
        method: of which method.
        data: on which data, in words.
        measured: mean over items (and seeds), in ``unit``.
        spread: standard deviation over ``over``; None for a single value.
        over: what the spread is taken over, e.g. ``"100 pairs"``.
        n: how many values went into it.
        unit: ``"dB"``, ``"x"``, ``""`` ...
        reported: the paper's value, or None; ``source`` says which.
        unlike: what the paper's value is of, where that is something else than was measured here (other images, another measure); such a
            value is shown, and nothing is said of whether it was met.
        target: what this project aims at, or None.
        better: ``"higher"``, ``"lower"``, or ``"neither"`` for what is no achievement.
        note: anything a reader must know.
    """

    name: str
    method: str
    data: str = ""
    measured: float | None
    spread: float | None = None
    over: str = ""
    n: int = 1
    unit: str = ""
    reported: float | None = None
    source: str = ""
    unlike: str = ""
    target: float | None = None
    better: str = "higher"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether our own target is met; None without one."""
        return self._reaches(self.target)

    @property
    def paper_met(self) -> bool | None:
        """Whether the paper's value is met; None without one, and where it is of something else."""
        return None if self.unlike else self._reaches(self.reported)

    def _reaches(self, bound: float | None) -> bool | None:
        if bound is None or self.measured is None or self.better == "neither":
            return None
        return self.measured >= bound if self.better == "higher" else self.measured <= bound


@frozen(kw_only=True)
class Provenance:
    """Where figures come from."""

    command: str
    commit: str
    date: str
    device: str
    threads: int
    versions: dict[str, str]
    data: dict[str, str] = Factory(dict)
    weights: dict[str, str] = Factory(dict)
    seeds: list[int] = Factory(list)


@frozen(kw_only=True)
class Curve:
    """A line: how a figure changed with something."""

    name: str
    x: str
    y: str
    points: list[list[float]]


@frozen(kw_only=True)
class Results:
    """A table with its provenance."""

    schema: int = SCHEMA
    name: str
    title: str
    figures: list[Figure]
    provenance: Provenance
    curves: list[Curve] = Factory(list)
    notes: list[str] = Factory(list)

    def save(self, path: str | Path, *, extra: str = "") -> Path:
        """Write the JSON, and the HTML page beside it; ``extra`` is HTML that goes on top of the page's table."""
        from privmed.evaluation.tables import to_html  # which needs this module

        path = Path(path)
        make_folder(path.parent)
        text = json.dumps(unstructure(self), indent=1, allow_nan=False) + "\n"
        for target, content in ((path, text), (path.with_suffix(".html"), to_html(self, extra))):
            with whole_file(target, overwrite=True) as temporary:
                temporary.write_text(content, encoding="utf-8")
        return path


def load(path: str | Path) -> Results:
    """Read what :meth:`Results.save` wrote.

    Raises:
        InputError: when the file is missing or not of this schema.
    """
    try:
        plain = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as results ({error}).") from error
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise InputError(f"{path}: is not a results file of schema {SCHEMA}.")
    return structure(Results, plain, str(path))


def keep_older(results: Results, path: Path, keep: Callable[[Figure], bool] = lambda _: True) -> Results:
    """A table with what its last edition had and this one did not measure again; every such figure tells where it is from.

    Args:
        results: the new edition.
        path: JSON of the last one; nothing is kept where there is none.
        keep: which of its figures.

    Raises:
        InputError: when the last edition cannot be read.
    """
    if not path.is_file():
        return results
    older = load(path)
    p, measured = older.provenance, {(f.method, f.name, f.data) for f in results.figures}
    kept = [
        evolve(f, note=f.note or f"{p.date}, commit {p.commit}, {p.device}")
        for f in older.figures
        if (f.method, f.name, f.data) not in measured and keep(f)
    ]
    again, origins = {f.method for f in results.figures}, {}
    for f in kept:  # a method that was measured again keeps single figures only, which are named
        origins.setdefault(f.note, {})[f"{f.method}: {f.name}" if f.method in again else f.method] = None
    notes = [f"Kept from an earlier edition ({origin}): {'; '.join(rows)}." for origin, rows in origins.items()]
    return evolve(results, figures=[*results.figures, *kept], notes=[*results.notes, *notes])


def figure(name: str, method: str, values: Iterable[float], **more: Any) -> Figure:
    """Make a figure of single values: their mean and standard deviation."""
    values = [float(v) for v in values]
    if not values or not all(math.isfinite(v) for v in values):
        raise InputError(f"{method}, {name}: {len(values)} values, not all of them finite; nothing to publish.")
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Figure(name=name, method=method, measured=statistics.fmean(values), spread=spread, n=len(values), **more)


def provenance(
    data: dict[str, str] | None = None, weights: dict[str, str] | None = None, seeds: list[int] | None = None
) -> Provenance:
    """Describe this run: command, commit, date, machine and versions."""
    import torch

    import privmed

    name = os.path.relpath(sys.argv[0]) if sys.argv[0] else "python"
    return Provenance(
        command=" ".join(["python", name if not name.startswith("..") else Path(name).name, *_public(sys.argv[1:])]),
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        device=device_name(),
        threads=torch.get_num_threads(),
        versions={"privmed": privmed.__version__, "python": platform.python_version(), "torch": torch.__version__},
        data=data or {},
        weights=weights or {},
        seeds=seeds or [],
    )


def _public(arguments: list[str]) -> list[str]:
    """Arguments without the paths of this machine."""
    return [Path(a).name.upper() if os.path.isabs(a) or a.startswith("..") else a for a in arguments]


def commit() -> str:
    """The commit of this tree, marked when it has changes; results that runs wrote are none."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name() -> str:
    """The processor, and the accelerator if torch sees one."""
    import torch

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{gpu}"
