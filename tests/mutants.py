"""Deliberate mistakes, each of which some test must notice: ``make mutants``.

The mistakes are data, in the ``mutants.yaml`` beside the tests that must notice them (the core's, and one in each plugin). One is
a file of a package, text that occurs in it exactly once, what stands there instead, and the tests. Each is made in a copy of the
packages in a temporary folder, on which only its tests run: in a child of this process, so that torch is imported once.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = [
    ROOT / "privmed",
    *(p.parent for p in sorted(ROOT.glob("plugins/*/*/__init__.py")) if p.parent.name != "tests"),
]
SHARED = (
    "pytest",
    "torch",
    "scipy.ndimage",
    "scipy.signal",
    "torchmetrics.functional.image",
)  # imported before the children part
PASSED, FAILED = 0, 1  # exit codes of pytest
LIMIT = 300  # seconds, after which a mistake counts as noticed: it hangs


class StaleError(Exception):
    """The tables do not fit the source or the tests any more."""


class Mutant(NamedTuple):
    """One deliberate mistake."""

    name: str
    file: str  # beginning with its package
    old: str
    new: str
    tests: tuple[str, ...]  # what pytest is told to run

    def apply(self, packages: Path) -> None:
        """Make the mistake in a copy of the packages.

        Raises:
            StaleError: when the text does not occur exactly once.
        """
        path = packages / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise StaleError(
                f"{self.file}: the text of {self.name!r} occurs {count} times, expected 1. Mend its entry in mutants.yaml."
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def read_tables() -> list[Mutant]:
    """All mutants of the core and the plugins."""
    found = []
    for table in (ROOT / "tests/mutants.yaml", *sorted(ROOT.glob("plugins/*/tests/mutants.yaml"))):
        for entry in yaml.safe_load(table.read_text(encoding="utf-8")):
            tests = tuple(str((table.parent / test).relative_to(ROOT)) for test in entry["tests"])
            found.append(Mutant(entry["name"], entry["file"], entry["old"], entry["new"], tests))
    return found


class Trial:
    """The tests of a mutant (or of none) on a copy of the packages, in a process of their own."""

    def __init__(self, mutant: Mutant | None, tests: tuple[str, ...]) -> None:
        self.mutant, self.began = mutant, time.monotonic()
        self.folder = tempfile.TemporaryDirectory(prefix="mutant-")
        packages = Path(self.folder.name)
        for package in PACKAGES:  # with what is compiled, so that only what is changed is compiled again
            shutil.copytree(package, packages / package.name)
        if mutant:
            mutant.apply(packages)
        self.log = packages / "log.txt"
        self.process = multiprocessing.get_context("fork").Process(target=run_tests, args=(packages, self.log, tests))
        self.process.start()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    def end(self) -> int:
        """Clear up; returns the exit code of pytest.

        Raises:
            StaleError: when the tests neither pass nor fail (they are gone, or the mistake breaks an import), or fail without a mistake.
        """
        hangs = self.process.is_alive()
        if hangs:
            self.process.kill()
        self.process.join()
        code = FAILED if hangs else self.process.exitcode
        said = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
        self.folder.cleanup()
        if code not in (PASSED, FAILED):
            raise StaleError(
                f"{self.mutant.name if self.mutant else 'no mistake'}: the tests could not be run.\n{said}"
            )
        if code == FAILED and not self.mutant:
            raise StaleError(f"the tests do not pass without any mistake.\n{said}")
        return code


def run_tests(packages: Path, log: Path, tests: tuple[str, ...]) -> None:
    """In a child: run tests on the packages of a folder, and end with the exit code of pytest."""
    import pytest

    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    sys.path.insert(0, str(packages))
    os.environ |= {"PYTHONPATH": str(packages), "PYTHONSAFEPATH": "1"}  # for the children of the tests
    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(int(code))


def trials(mutants: list[Mutant], workers: int) -> Iterator[Trial]:
    """Run all, so many at a time; yields those that have ended. The first is that of the tests without any mistake."""
    waiting: list[tuple[Mutant | None, tuple[str, ...]]] = [(m, m.tests) for m in mutants]
    waiting.insert(0, (None, tuple(sorted({t for m in mutants for t in m.tests}))))
    running: list[Trial] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(Trial(*waiting.pop(0)))
            wait([t.process.sentinel for t in running], timeout=1)
            for trial in [t for t in running if not t.process.is_alive() or (t.mutant and t.seconds > LIMIT)]:
                running.remove(trial)
                yield trial
    finally:
        for trial in running:
            trial.process.kill()
            trial.process.join()
            trial.folder.cleanup()


def part(text: str) -> tuple[int, int]:
    """``K/N`` as numbers, K from 1 to N."""
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N")
    return int(first), int(step)


def main() -> int:
    """Say which mutants are killed; 0 when all are, 1 when one survives, 2 when a table is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants whose name or file holds one of these")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time (2)")
    parser.add_argument(
        "--part", type=part, default=(1, 1), metavar="K/N", help="only every N-th of them, from the K-th on"
    )
    options = parser.parse_args()
    chosen = [m for m in read_tables() if not options.words or any(w in f"{m.name} {m.file}" for w in options.words)]
    first, step = options.part
    chosen = chosen[first - 1 :: step]
    os.environ["OMP_NUM_THREADS"] = "1"  # also because a process with threads must not fork
    for name in SHARED:
        importlib.import_module(name)
    survivors = []
    try:
        for trial in trials(chosen, options.workers):
            killed, mutant = trial.end() == FAILED, trial.mutant
            if mutant:
                print(
                    f"{'killed  ' if killed else 'SURVIVED'} {trial.seconds:6.1f} s  {mutant.file}: {mutant.name}",
                    flush=True,
                )
                survivors += [] if killed else [mutant]
    except StaleError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed, {len(survivors)} survived")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
