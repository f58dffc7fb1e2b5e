"""The run log: finished runs as JSON lines, each on the disk before the next one begins.

A killed run costs the cell it was at and nothing else; the last line that it cut is left out and written anew. Logs of several
machines merge, and where two of them disagree about the same run, that is told.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from privmed.errors import InputError, OutputError

VOLATILE = ("commit", "device", "date", "seconds", "provenance")  # may differ between two runs of the same thing


class RunLog:
    """Finished runs by key.

    Args:
        path: the file; it need not exist.

    Raises:
        InputError: when a line that is not the last one cannot be read, since then the file is damaged and not just cut.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.runs: dict[str, dict[str, Any]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what others have added meanwhile."""
        if not self.path.is_file():
            return
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                run = json.loads(line)
                self.runs[run["key"]] = run
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):  # no newline behind it: cut off
                    continue
                raise InputError(f"{self.path}, line {number}: is not a run of privmed bench.") from error

    def __contains__(self, key: str) -> bool:
        return key in self.runs

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self.runs[key]

    def __len__(self) -> int:
        return len(self.runs)

    def add(self, key: str, **values: Any) -> None:
        """Keep a finished run, on the disk."""
        run = {"key": key, **values}
        text = json.dumps(run, allow_nan=False) + "\n"
        try:
            with self.path.open("ab+") as file:
                self._end_line(file)
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error
        self.runs[key] = run

    @staticmethod
    def _end_line(file: Any) -> None:
        """Drop the line that an interruption cut, so that the next one does not stick to it."""
        file.seek(0)
        rest = file.read().rpartition(b"\n")[2]
        if not rest:
            return
        try:
            json.loads(rest)
            file.write(b"\n")  # all of it is there but its end
        except ValueError:
            file.truncate(file.seek(0, os.SEEK_END) - len(rest))

    def merge(self, other: RunLog) -> list[str]:
        """Add the runs of another log that this one lacks; returns in words each run that the two disagree about."""
        conflicts = []
        for key, run in other.runs.items():
            if key not in self:
                self.add(**run)
            elif _steady(run) != _steady(self[key]):
                conflicts.append(f"{key}: {_words(self[key])} and {_words(run)}")
        return conflicts


def _steady(run: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in run.items() if k not in VOLATILE}


def _words(run: dict[str, Any]) -> str:
    values = run.get("values", [])
    return ", ".join(f"{v['metric']} {v['value']:.6g}" for v in values[:3]) or "no values"
