"""Folders of scans, stegos and responses: one file of the output for each of the input.

The output folder holds nothing but these files, so it can be sent as it is; the manifest, with figures, photographs and hashes, lies
beside it (``stegos.jsonl`` beside ``stegos/``) and stays with whoever made it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import frozen

from privmed.data.folders import ImageFolder, Item
from privmed.data.release import Release
from privmed.errors import InputError, PrivmedError
from privmed.jobs import Job, Task
from privmed.jobs.batches import batches_of
from privmed.jobs.contracts import Place


def exchange(
    folder: Path, output: Path, about: dict[str, Any], *, job: Job, resume: bool = False, suffix: str = ".png"
) -> tuple[Release, list[Item]]:
    """The output folder of a folder, and the images that go into it; masks stay where they are.

    Raises:
        InputError: when two images would become the same file.
        OutputError: as :class:`Release`.
    """
    source = ImageFolder(folder, lenient=True)
    items, names = files_of(source, suffix)
    return Release(source, output, about, resume=resume, names=names, job=job, beside=True), items


def files_of(source: ImageFolder, suffix: str) -> tuple[list[Item], dict[Path, str]]:
    """The images of a folder without their masks, and what each becomes."""
    items = [item._replace(mask=None) for item in source.present()]
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for item in items:
        inner = item.image.relative_to(source.path)
        name = PurePosixPath(inner.as_posix()).with_suffix(suffix).as_posix()
        if name in taken:
            raise InputError(f"{item.image}: would become {name}, as {taken[name]} does. Rename one of them.")
        names[item.image], taken[name] = name, item.image
    return items, names


def photographs_for(items: list[Item], covers: Path, seed: int) -> dict[Path, Path]:
    """A photograph for each scan, none of them twice: two stegos of one photograph show where they differ.

    Args:
        items: the scans.
        covers: folder of photographs, at least as many.
        seed: which photograph goes with which scan.

    Raises:
        InputError: when there are too few.
    """
    if not covers.is_dir():
        raise InputError(
            f"{covers}: expected a folder of photographs, as there are {len(items)} scans and none may go with two of them."
        )
    pictures = [item.image for item in ImageFolder(covers, lenient=True).present()]
    if len(pictures) < len(items):
        raise InputError(
            f"{covers}: holds {len(pictures)} photographs, expected at least {len(items)}, as none may go with two scans."
        )

    def drawn(path: Path) -> bytes:
        return hashlib.sha256(
            f"{seed}:".encode() + path.relative_to(covers).as_posix().encode("utf-8", "replace")
        ).digest()

    return dict(zip((item.image for item in items), sorted(pictures, key=drawn)))


@frozen
class Each:
    """A task on files (``privmed.covert.files``) for the images of a folder.

    Attributes:
        task: its units are ``(name, image, output)``, or with photographs ``(name, image, photograph, output)``.
        folder: the input.
        photographs: of each image, if it needs one.
    """

    task: Task
    folder: Path
    photographs: dict[Path, Path] | None = None

    def open(self, place: Place) -> Callable[[tuple[Item, Path]], dict[str, Any]]:
        """The work."""
        work = self.task.open(place)

        def do(payload: tuple[Item, Path]) -> dict[str, Any]:
            unit, about = self._unit(*payload)
            return {**about, **plain(work(unit))}

        return do

    def open_batches(self, place: Place) -> Callable[[list[tuple[Item, Path]]], list[Any]]:
        """The work on batches."""
        work = batches_of(self.task, place)

        def do(payloads: list[tuple[Item, Path]]) -> list[Any]:
            units = [self._unit(*payload) for payload in payloads]
            made = zip(units, work([unit for unit, _ in units]), strict=True)
            return [v if isinstance(v, PrivmedError) else {**about, **plain(v)} for (_, about), v in made]

        return do

    def _unit(self, item: Item, draft: Path) -> tuple[tuple[Any, ...], dict[str, str]]:
        """The unit of an image, and what its line says of where it comes from."""
        name = item.image.relative_to(self.folder).as_posix()
        if self.photographs is None:
            return (name, item.image, draft), {"source": name}
        cover = self.photographs[item.image]
        return (name, item.image, cover, draft), {"source": name, "cover": cover.name}


def plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as JSON knows them: infinite ones and NaN become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
