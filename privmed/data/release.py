"""A published copy of a data set: a folder that mirrors another, with a manifest line for every image, and can be gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import Factory, define

from privmed.data.folders import ImageFolder, Item
from privmed.data.tables import TABLES, Table
from privmed.data.workplace import Workplace
from privmed.errors import InputError, KeyFileError, OutputError, SettingsError, VerificationError
from privmed.files import check_folder, folded, inside, local_name, make_folder, same_file, whole_file, writing
from privmed.limits import read_bytes, read_text

Change = Callable[[Item, Path], dict[str, Any]]
Tick = Callable[..., None]
MANIFEST = "manifest.jsonl"


@define
class Outcome:
    """What became of the images of a release."""

    written: list[dict[str, Any]] = Factory(list)
    kept: int = 0
    failed: list[tuple[str, str]] = Factory(list)


class Release:
    """The output folder of a data set; ``with Release(...) as release`` leaves no half-written file and no empty folder.

    Every file is written and checked in a :class:`work folder <privmed.data.workplace.Workplace>` and then moved in, after its line is in
    the manifest. So whenever a run is stopped, the output folder holds nothing but whole files that its manifest knows.

    Args:
        source: the data set.
        out: the folder to write; neither inside the data set nor around it.
        about: what was done (method, settings); the same for every line, and checked when going on.
        resume: go on with a folder that an interrupted run left.
        mark_of: what the manifest says of a source file; its SHA-256, unless that would help to guess what is secret.
        names: other names of images in the release than those they have in the data set.

    Raises:
        OutputError: when the folder cannot be used.
        SettingsError: when it holds a release made in another way.
        InputError: when it holds a name that leads out of it.
    """

    def __init__(
        self,
        source: ImageFolder,
        out: str | Path,
        about: dict[str, Any],
        *,
        resume: bool = False,
        mark_of: Callable[[Path], str] | None = None,
        names: dict[Path, str] | None = None,
    ) -> None:
        self.mark_of, self.names = mark_of or digest, names or {}
        self.first: dict[str, str] = {}  # name of each file, by what some file systems take for the same name
        self.source, self.out, self.about = source, Path(out), json.loads(json.dumps(about))
        check_apart(source, self.out)
        check_folder(self.out)
        self.work = Workplace(self.out, resume=resume)
        if self.out.is_dir() and set(self.out.iterdir()) - {self.work.path} and not resume:
            raise OutputError(f"{self.out}: is not empty. Choose another folder, or go on with --resume.")
        self.tables = [Table(path) for name in TABLES if (path := inside(source.path, name)).is_file()]
        self.lines = {line["file"]: line for line in self._read()} if resume else {}

    def __enter__(self) -> Release:
        make_folder(self.out)  # whether it can be made is known when it is; an empty one does not stay
        return self

    def __exit__(self, *_: object) -> None:
        self.work.close()

    def target(self, item: Item) -> Path:
        """Where the image goes: the same place and name.

        Raises:
            InputError: when that is outside the folder, an input, or a file that something else of the release is written to.
        """
        name = self.name(item)
        target, first = inside(self.out, name), self.first.setdefault(folded(name), name)
        if name in (MANIFEST, *TABLES) or (first != name and same_file(self.out / first, target)):
            other = first if first != name else "the table of that name"
            raise InputError(f"{item.image}: would be written over {other} in {self.out}. Rename it.")
        if same_file(target, item.image):
            raise InputError(f"{target}: is the input {item.image}, which must stay untouched. Choose another folder.")
        return target

    def name(self, item: Item) -> str:
        """What the manifest calls the image."""
        return self.names.get(item.image) or item.image.relative_to(self.source.path).as_posix()

    def is_done(self, item: Item) -> bool:
        """Whether an earlier run wrote this image, from the same source, and it is still whole."""
        line = self.lines.get(self.name(item))
        if line is None or not item.image.is_file() or not (target := self.target(item)).is_file():
            return False
        return line["source_sha256"] == self.mark_of(item.image) and line["sha256"] == digest(target)

    def draft(self, item: Item) -> Path:
        """Where the image is written before it is published.

        Raises:
            InputError: as :meth:`target`: what could not be published need not be made.
        """
        self.target(item)
        return self.work.draft(item.image.name)

    def add(self, item: Item, draft: Path, **figures: Any) -> dict[str, Any]:
        """Publish a written image: put a line into the manifest, on disk, and then the file in its place."""
        line = {
            "file": self.name(item),
            "source_sha256": self.mark_of(item.image),
            "sha256": digest(draft),
            **figures,
            **self.about,
        }
        target = self.target(item)
        make_folder(target.parent)
        with writing(self.out / MANIFEST), (self.out / MANIFEST).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with writing(target):
            os.replace(draft, target)
        self.lines[line["file"]] = line
        return line

    def run(self, items: list[Item], change: Change, *, strict: bool = False, tick: Tick = lambda *_: None) -> Outcome:
        """Change one image after the other. What cannot be used is named and left out.

        Args:
            items: what to write.
            change: ``change(item, draft)`` writes the image and returns the figures of the written file.
            strict: stop at the first image that cannot be used.
            tick: called after each image with how many are done, and of how many.
        """
        outcome = Outcome()
        for n, item in enumerate(items, 1):
            if self.is_done(item):
                outcome.kept += 1
            else:
                try:
                    draft = self.draft(item)
                    outcome.written.append(self.add(item, draft, **change(item, draft)))
                except (InputError, KeyFileError, VerificationError) as error:
                    if strict:
                        raise
                    outcome.failed.append((self.name(item), str(error)))
            tick(n, len(items))
        return outcome

    def finish(self, items: list[Item], failed: list[tuple[str, str]], **more: Any) -> None:
        """Copy masks and tables of what was written, and put the manifest in order. A table loses the lines of what was left out.

        Args:
            items: what was to be written.
            failed: names and reasons of what was left out.
            more: what every line says besides, which may change from run to run.
        """
        if not self.lines:
            return
        left_out = {name for name, _ in failed}
        for item in items:
            if item.mask is not None and not item.mask.missing and self.name(item) not in left_out:
                for path in item.mask.files:
                    copy(path, inside(self.out, path.relative_to(self.source.path).as_posix()), self.work.drafts())
        published = {name for name in self.lines if name not in left_out}
        there = {(self.source.root / name).relative_to(self.source.path).as_posix() for name in self.source.names()}
        absent = {n for name in {*map(self.name, items), *there} - published for n in self._known_as(name)}
        for table in self.tables:
            table.copy(inside(self.out, table.path.name), absent, self.work.drafts())
        for line in self.lines.values():
            line.update(more)
        lines = sorted(
            (line for name, line in self.lines.items() if name not in left_out), key=lambda line: line["file"]
        )
        with whole_file(self.out / MANIFEST, overwrite=True, work=self.work.drafts()) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _known_as(self, name: str) -> set[str]:
        """What tables may call an image: its place in images/ or in the set, or its name without the ending."""
        inner = name.removeprefix(f"{self.source.root.name}/") if self.source.root != self.source.path else name
        return {inner, name, PurePosixPath(inner).with_suffix("").as_posix()}

    def _read(self) -> Iterator[dict[str, Any]]:
        path = inside(self.out, MANIFEST)
        for text in read_text(path, "table_bytes").splitlines() if path.is_file() else []:
            try:
                line = json.loads(text)
                _ = line["file"], line["source_sha256"], line["sha256"]
            except (ValueError, KeyError, TypeError):
                continue  # cut off by the interruption: that image is done again
            local_name(line["file"], path)
            other = next((k for k, v in self.about.items() if line.get(k) != v), None)
            if other is not None:
                raise SettingsError(
                    f"{self.out}: was begun with {other} {line.get(other)!r}, now it is {self.about[other]!r}. "
                    "Go on with the same settings, or choose another folder."
                )
            if (self.out / line["file"]).is_file():  # it has its line before it is moved in
                yield line


def check_apart(source: ImageFolder, out: Path) -> None:
    """Refuse to write into a data set, or around it.

    Raises:
        OutputError: when one folder lies in the other.
    """
    for folder in source.folders:
        a, b = folder.resolve(), out.resolve()
        if a == b or a in b.parents or b in a.parents:
            raise OutputError(
                f"{out}: lies in {folder} or around it, and its originals must stay untouched. Choose another folder."
            )


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def copy(path: Path, target: Path, work: Path) -> None:
    """Copy a file byte for byte, whole or not at all (``work`` is for the temporary one); one that is equal already is left."""
    if target.is_file() and digest(target) == digest(path):
        return
    make_folder(target.parent)
    with whole_file(target, overwrite=True, work=work) as temporary:
        shutil.copyfile(path, temporary)
