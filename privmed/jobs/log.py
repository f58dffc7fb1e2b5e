"""The run log of a job or of one shard: JSON lines, a header and then what became of each unit.

A line that a kill cut is left out, and its unit is done again. A unit may have several lines; the last one counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from privmed.errors import InputError, OutputError
from privmed.files import make_folder

NAME = "run.jsonl"
SYNC = 1.0  # seconds between two syncs: what a power cut may cost is done again


class JobLog:
    """Appends to a run log; made with its first line.

    Args:
        path: the file.
        header: what the first line of a new log says: the job, its settings, its shard.

    Raises:
        InputError: when the file is there and is no log.
        OutputError: for a line that cannot be written; the log stays whole.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path, self.header = path, header
        self._file: IO[bytes] | None = None
        self._synced = 0.0

    def add(self, **line: Any) -> None:
        """Append a line."""
        try:
            self.begin()
            self._write(line)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def begin(self) -> None:
        """Open it: make it, with its header, or go on with one that is there."""
        try:
            if self._file is None:
                self._file = self._open()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def close(self) -> None:
        """Put on the disk what is written."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                with file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def _open(self) -> IO[bytes]:
        make_folder(self.path.parent)
        file = self.path.open("r+b" if self.path.exists() else "w+b", buffering=0)
        self._file = file
        _mend(file)
        if file.tell() == 0:
            self._write(self.header)
        return file

    def _write(self, line: dict[str, Any]) -> None:
        file, data = self._file, json.dumps(line, allow_nan=False).encode() + b"\n"
        start = file.tell()
        try:
            while data:  # a disk that fills up takes a part
                data = data[file.write(data) :]
        except OSError:
            file.seek(start)
            file.truncate()
            raise
        if time.monotonic() - self._synced > SYNC:
            os.fsync(file.fileno())
            self._synced = time.monotonic()


def _mend(file: IO[bytes]) -> None:
    """Go to the end, and cut off a line that has none."""
    size = file.seek(0, os.SEEK_END)
    at, rest = size, b""
    while at > 0 and b"\n" not in rest:  # a line is short, a log is not
        step = min(at, 2**16)
        at -= step
        file.seek(at)
        rest = file.read(step) + rest
    cut = len(rest) - (rest.rfind(b"\n") + 1)
    file.seek(size - cut)
    file.truncate()


def read_log(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The header of a log, and the last line of each unit; what a kill cut at its end is left out.

    Raises:
        InputError: when it is no log, or a line before the last one is damaged.
    """
    lines = list(_lines(path))
    header = lines[0] if lines else {}
    if "job" not in header:
        raise InputError(f"{path}: is no run log of privmed.")
    last: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not isinstance(line.get("id"), str):
            raise InputError(f"{path}, line {number}: is damaged.")
        last[line["id"]] = line
    return header, last


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return  # cut off
                try:
                    line = json.loads(text)
                except ValueError:
                    line = None
                if not isinstance(line, dict):
                    raise InputError(f"{path}, line {number}: is damaged.")
                yield line
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
