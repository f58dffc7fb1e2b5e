"""Trees of DICOM studies as data sets: images are told by what they hold, whatever they are called, and all else is listed.

A tree holds files without an ending, files without pixels (reports, plans, an index), and several kinds of images side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from attrs import Factory, define, field, frozen

from privmed.data.drafts import digest
from privmed.data.folders import MAYBE, PICTURES, ImageFolder, Item, is_dicom, is_hidden, may_be_dicom
from privmed.data.release import MANIFEST, Release, Tick
from privmed.data.tables import TABLES
from privmed.errors import InputError, PrivmedError
from privmed.files import inside
from privmed.imaging.dicom_identity import Identity, bytes_of, copy_dicom
from privmed.jobs.contracts import Place
from privmed.limits import read_text

MASK = "is a mask"  # what stands for it in manifests
NO_PICTURE = "is no picture"
INDEX = "is a DICOMDIR, an index that would be wrong for the copy; make a new one"
ELSEWHERE = "is a link that leads out of the data set"
HIDDEN = "is hidden, or lies in a hidden folder"
KEY = "is a key"
NEVER = (INDEX, ELSEWHERE, HIDDEN, KEY)  # is copied


class Other(NamedTuple):
    """A file of a set that is not an image, or not one that can be changed, and why."""

    image: Path
    reason: str
    mask: None = None


class StudyFolder(ImageFolder):
    """A data set in which DICOM files are found by their content; arguments and errors as of :class:`ImageFolder`.

    A DICOM file is an image if its SOP class says so; of a class that nobody knows, if it has pixels. Without pydicom every one is.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self._reasons: dict[str, str] = {}
        super().__init__(path, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reasons": {}}  # workers open what they are given

    def _pictures(self, root: Path) -> list[str]:
        names = ((p, p.relative_to(root).as_posix()) for p in root.rglob("*"))
        return sorted(name for p, name in names if not is_hidden(name) and not self._dropped(p))

    def _dropped(self, path: Path) -> str:
        """Why a path is no image; empty if it is one, or may be."""
        if path.suffix.lower() in MAYBE:
            return ""
        known = self._reasons.get(str(path))
        if known is None:
            known = self._reasons[str(path)] = no_image(path)
        return known

    @cached_property
    def has_dicom(self) -> bool:
        """Whether there is a DICOM image."""
        return any(i.image.suffix.lower() not in MAYBE and is_dicom(i.image) for i in self.items())

    def rest(self) -> list[Other]:
        """All files that are neither images nor masks nor tables, with the reason, in a fixed order."""
        taken = {self.path / name for name in (MANIFEST, *TABLES)}
        taken |= {*self.beside(), *(self.root / name for name in self._split)}  # a table may name what would be hidden
        masks = () if self.masks is None else (self.masks,)
        found = {}
        for folder in (self.path, self.root):
            for path in folder.rglob("*"):
                if path in taken or path.is_dir() or any(m in path.parents for m in masks):
                    continue
                reason = HIDDEN if is_hidden(path.relative_to(folder).as_posix()) else self._dropped(path)
                if not reason and self.root not in path.parents:
                    reason = f"lies outside of {self.root.name}/"
                if reason:
                    found[path] = Other(path, reason if self._is_inside(path) else ELSEWHERE)
        return [found[path] for path in sorted(found)]

    @cached_property
    def copied(self) -> set[Path]:
        """What the manifest of a published set calls copied, and is still as it was copied; damaged lines count for nothing."""
        found: set[Path] = set()
        manifest = self.path / MANIFEST
        try:
            lines = read_text(manifest, "table_bytes").splitlines() if manifest.is_file() else []
        except (OSError, ValueError, PrivmedError):  # of a stranger, and in any state
            return found
        for text in lines:
            try:
                line = json.loads(text)
                path = inside(self.path, line["file"]) if "copied" in line else None
                if path is not None and path.is_file() and digest(path) == line["sha256"]:
                    found.add(path)
            except (ValueError, KeyError, TypeError, PrivmedError):
                continue
        return found

    def marked(self) -> list[Item]:
        """As :meth:`present`, without what was only copied.

        Raises:
            InputError: as :meth:`present`.
        """
        return [item for item in self.present() if item.image not in self.copied]

    def _is_inside(self, path: Path) -> bool:
        folder = self.root if self.root in path.parents else self.path
        try:
            inside(folder, path.relative_to(folder).as_posix())
        except InputError:
            return False
        return True


def no_image(path: Path) -> str:
    """Why a file without the ending of a picture is none; empty for a DICOM image, and what looks like one."""
    if not path.is_file():
        return NO_PICTURE
    if not is_dicom(path):
        if path.suffix.lower() in PICTURES:
            return ""  # whoever opens it says what is wrong
        return KEY if is_key(path) else NO_PICTURE
    try:
        from pydicom.filereader import read_file_meta_info
        from pydicom.uid import DeflatedExplicitVRLittleEndian
    except ImportError:
        return ""
    try:
        meta = read_file_meta_info(path)
        kind, syntax = meta.get("MediaStorageSOPClassUID"), meta.get("TransferSyntaxUID")
    except Exception:  # whoever opens it says what is wrong
        return ""
    keyword = kind.keyword if kind else ""
    if keyword == "MediaStorageDirectoryStorage":
        return INDEX
    if keyword:
        return "" if "Image" in keyword else f"is a DICOM file that is no picture of a patient ({kind.name})"
    if syntax == DeflatedExplicitVRLittleEndian or _has_pixels(path):  # a deflated one is not unpacked here
        return ""
    return "is a DICOM file without pixels, of a kind that is not in the standard"


def is_key(path: Path) -> bool:
    """Whether a file begins as keys do, ours (also unfinished ones) and private ones in PEM."""
    from privmed import keyfile, shared_key

    try:
        with path.open("rb") as file:
            start = file.read(2**16)  # certificates and parameters may come before a key
    except OSError:
        return False
    return start.startswith((keyfile.MAGIC, shared_key.HEAD)) or b"PRIVATE KEY-----" in start


def _has_pixels(path: Path) -> bool:
    from pydicom.filereader import read_partial

    seen: list[int] = []

    def at_pixels(tag: Any, *_: Any) -> bool:
        if tag in (0x7FE00008, 0x7FE00009, 0x7FE00010):
            seen.append(tag)
        return bool(seen)

    try:
        with path.open("rb") as file:
            read_partial(file, at_pixels, specific_tags=[])
    except Exception:  # whoever opens it says what is wrong
        return True
    return bool(seen)


def can_be_copied(other: Other, deidentify: bool) -> bool:
    """Whether a file that is no image can go into a release as it is, or with another identity."""
    return other.reason not in NEVER and (not deidentify or is_dicom(other.image))


@frozen
class Copying:
    """The task of copying what is not changed: DICOM files get their new identity, others stay byte for byte.

    Its units are ``(other, draft)``; the figures say why the file was not changed.
    """

    identity: Identity = field(repr=False)

    def open(self, place: Place) -> Callable[[tuple[Other, Path]], dict[str, Any]]:
        """The work."""
        return lambda payload: self._copy(*payload)

    def _copy(self, other: Other, draft: Path) -> dict[str, Any]:
        figures = {"copied": other.reason}
        if is_dicom(other.image) or (other.reason == MASK and may_be_dicom(other.image)):
            seen = copy_dicom(other.image, draft, self.identity)
            return figures | ({"burnt_in": seen} if seen else {})
        if self.identity.deidentify:
            raise InputError(f"{other.image}: is no DICOM file, so it cannot be de-identified, and is not copied.")
        draft.write_bytes(bytes_of(other.image))
        return figures


@define
class Carried:
    """What became of the files of a set that were not changed.

    Attributes:
        failed: names and reasons of images that are not in the release.
        left: names and reasons of other files that are not.
    """

    failed: list[tuple[str, str]] = Factory(list)
    left: list[tuple[str, str]] = Factory(list)


def carry(
    release: Release,
    items: Sequence[Item],
    failed: list[tuple[str, str]],
    rest: Sequence[Other],
    identity: Identity,
    *,
    copy: bool,
    tick: Tick = lambda *_: None,
) -> Carried:
    """Copy the DICOM masks of a set, and, if asked to, what could not be changed.

    An image that failed for another reason than itself (a worker that died, a method that did not keep its promise) is not copied.

    Args:
        release: where the images were written.
        items: the images.
        failed: names and reasons of those that could not be.
        rest: the other files, see :meth:`StudyFolder.rest`.
        identity: of all DICOM files of the set.
        copy: whether images that failed and other files are copied.
        tick: told how far it is.
    """
    job, reasons = release.job, dict(failed)
    todo = [other for other in rest if copy and can_be_copied(other, identity.deidentify)]
    kept = {other.image for other in todo}
    left = [(release.name(other), _why(other, copy)) for other in rest if other.image not in kept]
    for name, why in left:
        job.note(name, "left", reason=why)
    unusable = {name for name in reasons if copy and name in job.unusable}
    for item in items:
        name = release.name(item)
        if name in unusable:
            todo.append(Other(item.image, _public(reasons[name], item, release.source.path)))
        if item.mask is not None and (name not in reasons or name in unusable):
            todo += [Other(path, MASK) for path in item.mask.files if may_be_dicom(path)]
    job.failed = []
    outcome = release.run(todo, Copying(identity), tick)  # type: ignore[arg-type]
    lost, others = dict(outcome.failed), {release.name(other) for other in rest}
    for name in lost.keys() & others:  # a copy that was wanted costs no exit code, so it must not hold up a merge
        job.note(name, "left", reason=lost[name])
    failed = [(name, why) for name, why in failed if name not in unusable or name in lost]
    failed += _without_masks(release, items, {name for name, _ in failed}, lost)
    return Carried(failed, sorted(left + [pair for pair in outcome.failed if pair[0] in others]))


def _without_masks(
    release: Release, items: Sequence[Item], gone: set[str], lost: dict[str, str]
) -> list[tuple[str, str]]:
    """Take out images one of whose masks could not be written, with their other masks; names and reasons."""
    failed = []
    for item in items:
        name = release.name(item)
        masks = [path.relative_to(release.source.path).as_posix() for path in item.mask.files] if item.mask else []
        bad = next((mask for mask in masks if mask in lost), None)
        if bad is None or name in gone:
            continue
        for file in (name, *masks):
            release.withdraw(file)
        failed.append((name, f"its mask cannot be published: {lost[bad]}"))
        release.job.note(name, "failed", reason=failed[-1][1])
    return failed


def _why(other: Other, copy: bool) -> str:
    """Why a file is not copied, where others were."""
    if copy and other.reason not in NEVER:
        return f"{other.reason}, and what is no DICOM file cannot be de-identified"
    return other.reason


def _public(reason: str, item: Item, folder: Path) -> str:
    """A reason without the places of the sender's files: manifests are published."""
    return reason.replace(f"{item.image}: ", "").replace(f"{folder}/", "")
