"""Folders of scans, stegos and responses: one file of the output for each of the input.

The output folder holds nothing but these files, so it can be sent as it is; the manifest, with figures, photographs and hashes, lies
beside it (``stegos.jsonl`` beside ``stegos/``) and stays with whoever made it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from privmed.data.drafts import digest
from privmed.data.folders import ImageFolder, Item, stem_of
from privmed.data.release import Release
from privmed.data.studies import MASK, StudyFolder
from privmed.errors import InputError, PrivmedError
from privmed.files import same_file
from privmed.jobs import Job, Task
from privmed.jobs.batches import batches_of
from privmed.jobs.contracts import Place


def exchange(
    folder: Path, output: Path, about: dict[str, Any], *, job: Job, resume: bool = False, suffix: str = ".png"
) -> tuple[Release, list[Item], list[tuple[str, str]]]:
    """The output folder of a folder, the images that go into it, and the names of other files with the reason why they do not.

    DICOM files are told by their content. Masks stay where they are.

    Raises:
        InputError: when two images would become the same file.
        OutputError: as :class:`Release`.
    """
    source = StudyFolder(folder, lenient=True)
    items, names = files_of(source, suffix)
    left = [(other.image.relative_to(source.path).as_posix(), other.reason) for other in source.rest()]
    left += [(path.relative_to(source.path).as_posix(), MASK) for path in source.beside()]
    return Release(source, output, about, resume=resume, names=names, job=job, beside=True), items, sorted(left)


def files_of(source: ImageFolder, suffix: str) -> tuple[list[Item], dict[Path, str]]:
    """The images of a folder without their masks, and what each becomes."""
    items = [item._replace(mask=None) for item in source.present()]
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for item in items:
        inner = item.image.relative_to(source.path)
        name = stem_of(inner.as_posix()) + suffix
        if name in taken:
            raise InputError(f"{item.image}: would become {name}, as {taken[name]} does. Rename one of them.")
        names[item.image], taken[name] = name, item.image
    return items, names


def photographs_for(release: Release, items: list[Item], covers: Path, seed: int) -> dict[Path, Path]:
    """A photograph for each scan, none of them twice: two stegos of one photograph show where they differ.

    What an interrupted run has hidden stays in its photograph, which no other scan gets. A photograph that is there several times counts
    once, and one that is a scan does not count, as its stego would show it.

    Args:
        release: with the lines of an interrupted run.
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
    scans = [item.image for item in items]
    pictures = distinct((item.image for item in ImageFolder(covers, lenient=True).present()), apart_from=scans)
    names = {path.relative_to(covers).as_posix(): path for path in pictures}
    earlier = {line.get("source"): line["cover"] for line in release.lines.values() if "cover" in line}
    kept = {
        path: names[cover]
        for path in scans
        if (cover := earlier.get(path.relative_to(release.source.path).as_posix())) in names
    }
    left = [item for item in items if item.image not in kept and not release.is_done(item)]

    def drawn(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + name.encode("utf-8", "replace")).digest()

    order, taken = sorted(names, key=drawn), set(earlier.values())
    first = {scan: name for scan, name in zip(scans, order) if name not in taken}  # as a run from nothing: shards agree
    found = {item.image: first[item.image] for item in left if item.image in first}
    free = [name for name in order if name not in taken]
    if len(free) < len(left):
        used = f", of which {len(pictures) - len(free)} are used" if len(free) < len(pictures) else ""
        raise InputError(
            f"{covers}: holds {len(pictures)} photographs{used}, expected at least {len(left)}{' more' if used else ''}, as none may "
            "go with two scans (the same picture counts once, and a scan does not count)."
        )
    chosen = set(found.values())
    spare = [name for name in free if name not in chosen]
    found |= dict(zip([item.image for item in left if item.image not in found], spare))
    return kept | {scan: names[name] for scan, name in found.items()}


def check_photographs(secret: Path, covers: list[Path]) -> None:
    """Refuse a scan as its own photograph, and a photograph that was named twice.

    Raises:
        InputError: naming it.
    """
    for n, cover in enumerate(covers):
        if is_same(cover, secret):
            raise InputError(f"{cover}: is the scan itself, which everybody would see in it. Name a photograph.")
        if any(is_same(cover, other) for other in covers[:n]):
            raise InputError(
                f"{cover}: was named before, or is the same picture. Two answers from one photograph tell no more than one."
            )


def distinct(pictures: Iterable[Path], *, apart_from: Iterable[Path]) -> list[Path]:
    """Files whose content is neither that of an earlier one nor of a file of ``apart_from``; content is looked at where sizes are equal."""
    seen: dict[int, list[Path]] = {}
    for path in apart_from:
        if path.is_file():
            seen.setdefault(path.stat().st_size, []).append(path)
    found = []
    for path in pictures:
        alike = seen.setdefault(path.stat().st_size if path.is_file() else -1, [])
        if not any(is_same(path, other) for other in alike):
            found.append(path)
            alike.append(path)
    return found


def is_same(a: Path, b: Path) -> bool:
    """Whether two files are one, or hold the same."""
    if same_file(a, b):
        return True
    try:
        return a.stat().st_size == b.stat().st_size and digest(a) == digest(b)
    except (OSError, PrivmedError):  # whoever opens it says what is wrong
        return False


@frozen
class Each:
    """A task on files (``privmed.covert.files``) for the images of a folder.

    Attributes:
        task: its units are ``(name, image, output)``, or with photographs ``(name, image, photograph, output)``.
        folder: the input.
        photographs: of each image, if it needs one.
        covers: the folder that they lie in.
    """

    task: Task
    folder: Path
    photographs: dict[Path, Path] | None = None
    covers: Path | None = None

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
        return (name, item.image, cover, draft), {
            "source": name,
            "cover": cover.relative_to(self.covers or cover.parent).as_posix(),
        }


def plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as JSON knows them: infinite ones and NaN become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
