"""Folders of scans, stegos and responses: one file of the output for each of the input.

The output folder holds nothing but these files, so it can be sent as it is; the manifest, with figures, photographs and hashes, lies
beside it (``stegos.jsonl`` beside ``stegos/``) and stays with whoever made it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
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

    A scan that an interrupted run has hidden stays in its photograph, and what such a run has used no other scan gets, under whatever name.
    A photograph that is there several times counts once, and one that is a scan does not count, as its stego would show it.

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
    earlier = {line["file"]: line for line in (*release.gone, *release.lines.values()) if "cover" in line}
    taken, contents = ({line.get(key) for line in earlier.values()} for key in ("cover", "cover_sha256"))
    named = {path.relative_to(covers).as_posix(): path for path in _pictures_of(covers)}
    used_first = sorted(named, key=lambda name: (name not in taken, name))  # of two copies the used one counts
    names = {
        path.relative_to(covers).as_posix(): path
        for path in distinct((named[name] for name in used_first), apart_from=[item.image for item in items])
    }
    kept, left = {}, []
    for item in items:
        line = earlier.get(release.name(item), {})
        if line.get("cover") in names and line["source_sha256"] == release.mark_of(item.image):
            kept[item.image] = names[line["cover"]]
        elif not release.is_done(item):
            left.append(item.image)

    def drawn(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + name.encode("utf-8", "replace")).digest()

    def is_free(name: str) -> bool:
        return name not in taken and (not earlier or _mark(names[name]) not in contents)

    order = sorted(names, key=drawn)
    first = dict(zip([item.image for item in items], order))  # as a run from nothing would choose, so that shards agree
    found = {scan: first[scan] for scan in left if scan in first and is_free(first[scan])}
    chosen, without = set(found.values()), [scan for scan in left if scan not in found]
    spare = list(islice((name for name in order if name not in chosen and is_free(name)), len(without)))
    if len(spare) < len(without):
        more = " that are not used yet" if earlier else ""
        raise InputError(
            f"{covers}: holds {len(found) + len(spare)} photographs{more}, expected at least {len(left)}, as none may go with two scans "
            "(the same picture counts once, and a scan does not count)."
        )
    found |= dict(zip(without, spare))
    return kept | {scan: names[name] for scan, name in found.items()}


def _pictures_of(folder: Path) -> list[Path]:
    return [item.image for item in ImageFolder(folder, lenient=True).present()]


def _mark(path: Path) -> str:
    """The digest of a file; of one that cannot be read its place."""
    try:
        return digest(path)
    except (OSError, PrivmedError):  # whoever opens it says what is wrong
        return str(path.absolute())


def distinct(pictures: Iterable[Path], *, apart_from: Iterable[Path]) -> list[Path]:
    """Files whose content is neither that of an earlier one nor of a file of ``apart_from``; content is read where sizes agree."""
    pictures, others = list(pictures), [path for path in apart_from if path.is_file()]
    sizes = {path: path.stat().st_size if path.is_file() else -1 for path in (*others, *pictures)}
    alike = Counter(sizes.values())
    marks = {path: _mark(path) if alike[size] > 1 else str(path) for path, size in sizes.items()}
    seen, found = {marks[path] for path in others}, []
    for path in pictures:
        if marks[path] not in seen:
            found.append(path)
            seen.add(marks[path])
    return found


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
        about = {"source": name, "cover": cover.relative_to(self.covers or cover.parent).as_posix()}
        return (name, item.image, cover, draft), {**about, "cover_sha256": _mark(cover)}


def plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as JSON knows them: infinite ones and NaN become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
