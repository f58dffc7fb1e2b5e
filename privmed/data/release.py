"""A published copy of a data set: a folder that mirrors another, with a manifest line for every image, and can be gone on with."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import Factory, define

from privmed.data.folders import ImageFolder, Item
from privmed.errors import InputError, KeyFileError, OutputError, VerificationError
from privmed.files import make_folder, whole_file
from privmed.limits import read_bytes, read_text

Change = Callable[[Item, Path], dict[str, Any]]
Tick = Callable[..., None]
MANIFEST = "manifest.jsonl"
TABLES = ("split.csv", "groups.csv", "labels.csv")


@define
class Outcome:
    """What became of the images of a release."""

    written: list[dict[str, Any]] = Factory(list)
    kept: int = 0
    failed: list[tuple[str, str]] = Factory(list)


class Release:
    """The output folder of a data set.

    Args:
        source: the data set.
        out: the folder to write; neither inside the data set nor around it.
        about: what was done (method, settings); the same for every line, and checked when going on.
        resume: go on with a folder that an interrupted run left.
        mark_of: what the manifest says of a source file; its SHA-256, unless that would help to guess what is secret.

    Raises:
        OutputError: when the folder cannot be used.
        InputError: when it holds a release made in another way.
    """

    def __init__(
        self,
        source: ImageFolder,
        out: str | Path,
        about: dict[str, Any],
        *,
        resume: bool = False,
        mark_of: Callable[[Path], str] | None = None,
    ) -> None:
        self.mark_of = mark_of or digest
        self.source, self.out, self.about = source, Path(out), json.loads(json.dumps(about))
        check_apart(source.path, self.out)
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"{self.out}: is a file, expected a folder.")
        if self.out.is_dir() and any(self.out.iterdir()) and not resume:
            raise OutputError(f"{self.out}: is not empty. Choose another folder, or go on with --resume.")
        make_folder(self.out)
        self.tables = [Table(path) for name in TABLES if (path := source.path / name).is_file()]
        self.lines = {line["file"]: line for line in self._read()} if resume else {}

    def target(self, item: Item) -> Path:
        """Where the image goes: the same place and name."""
        return self.out / item.image.relative_to(self.source.path)

    def name(self, item: Item) -> str:
        """What the manifest calls the image."""
        return item.image.relative_to(self.source.path).as_posix()

    def is_done(self, item: Item) -> bool:
        """Whether an earlier run wrote this image, from the same source, and it is still whole."""
        line, target = self.lines.get(self.name(item)), self.target(item)
        if line is None or not target.is_file() or not item.image.is_file():
            return False
        return line["source_sha256"] == self.mark_of(item.image) and line["sha256"] == digest(target)

    def add(self, item: Item, **figures: Any) -> dict[str, Any]:
        """Put a line for a written image into the manifest; it is on disk when this returns."""
        line = {
            "file": self.name(item),
            "source_sha256": self.mark_of(item.image),
            "sha256": digest(self.target(item)),
            **figures,
            **self.about,
        }
        try:
            with (self.out / MANIFEST).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.out / MANIFEST}: cannot be written ({error.strerror}).") from error
        self.lines[line["file"]] = line
        return line

    def run(self, items: list[Item], change: Change, *, strict: bool = False, tick: Tick = lambda *_: None) -> Outcome:
        """Change one image after the other. What cannot be used is named and left out.

        Args:
            items: what to write.
            change: ``change(item, target)`` writes the image and returns the figures of the written file.
            strict: stop at the first image that cannot be used.
            tick: called after each image with how many are done, and of how many.
        """
        outcome = Outcome()
        for n, item in enumerate(items, 1):
            if self.is_done(item):
                outcome.kept += 1
            else:
                try:
                    make_folder(self.target(item).parent)
                    outcome.written.append(self.add(item, **change(item, self.target(item))))
                except (InputError, KeyFileError, VerificationError) as error:
                    if strict:
                        raise
                    outcome.failed.append((self.name(item), str(error)))
            tick(n, len(items))
        return outcome

    def finish(self, items: list[Item], failed: list[tuple[str, str]]) -> None:
        """Copy masks and tables of what was written, and put the manifest in order. A table loses the lines of what was left out."""
        left_out = {name for name, _ in failed}
        for item in items:
            if item.mask is not None and self.name(item) not in left_out:
                copy(item.mask, self.out / item.mask.relative_to(self.source.path))
        published = {name for name in self.lines if name not in left_out}
        there = self.source.present() if self.lines else []
        absent = [item for item in {*items, *there} if self.name(item) not in published]
        for table in self.tables:
            table.copy(self.out / table.path.name, {n for item in absent for n in self._known_as(item)})
        lines = sorted(
            (line for name, line in self.lines.items() if name not in left_out), key=lambda line: line["file"]
        )
        with whole_file(self.out / MANIFEST, overwrite=True) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _known_as(self, item: Item) -> set[str]:
        """What tables may call an image: its place in images/ or in the set, or its name without the ending."""
        inner = item.image.relative_to(self.source.root)
        return {inner.as_posix(), self.name(item), inner.with_suffix("").as_posix()}

    def _read(self) -> Iterator[dict[str, Any]]:
        path = self.out / MANIFEST
        for text in read_text(path, "table_bytes").splitlines() if path.is_file() else []:
            try:
                line = json.loads(text)
                _ = line["file"], line["source_sha256"], line["sha256"]
            except (ValueError, KeyError, TypeError):
                continue  # cut off by the interruption: that image is done again
            other = next((k for k, v in self.about.items() if line.get(k) != v), None)
            if other is not None:
                raise InputError(
                    f"{self.out}: was begun with {other} {line.get(other)!r}, now it is {self.about[other]!r}. "
                    "Go on with the same settings, or choose another folder."
                )
            yield line


def check_apart(source: Path, out: Path) -> None:
    """Refuse to write into a data set, or around it.

    Raises:
        OutputError: when one folder lies in the other.
    """
    a, b = source.resolve(), out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise OutputError(
            f"{out}: lies in {source} or around it, and its originals must stay untouched. Choose another folder."
        )


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


class Table:
    """A table of a data set, with a line an image: read before any work, and copied without the lines of what was left out.

    The name of the image is in the column ``file``, or in the first one if there is none of that name. Columns are parted by commas,
    semicolons or tabs; what is kept stays byte for byte, in whatever encoding.

    Raises:
        InputError: when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = read_bytes(path, "table_bytes").decode("utf-8", "surrogateescape")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        self.lines = text.splitlines(keepends=True)
        head = self.lines[0].lstrip("\ufeff") if self.lines else ""
        self.delimiter = max(",;\t", key=head.count)
        names = self._cells(head)
        self.column = names.index("file") if "file" in names else 0

    def copy(self, target: Path, absent: set[str]) -> None:
        """Write it without the lines that name one of ``absent``."""
        kept = [line for n, line in enumerate(self.lines) if n == 0 or self._name(line) not in absent]
        with whole_file(target, overwrite=True) as temporary:
            temporary.write_bytes("".join(kept).encode("utf-8", "surrogateescape"))

    def _name(self, line: str) -> str:
        cells = self._cells(line)
        return cells[self.column].strip() if self.column < len(cells) else ""

    def _cells(self, line: str) -> list[str]:
        return next(csv.reader([line], delimiter=self.delimiter), [])


def copy(path: Path, target: Path) -> None:
    """Copy a file byte for byte, whole or not at all; one that is equal already is left."""
    if target.is_file() and digest(target) == digest(path):
        return
    make_folder(target.parent)
    try:
        with whole_file(target, overwrite=True) as temporary:
            shutil.copyfile(path, temporary)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}).") from error
