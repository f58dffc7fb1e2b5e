"""Mark one group of images: what a worker does, and what it tells of each."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from attrs import Factory, evolve, field, frozen
from torch import Tensor

from privmed.data.drafts import marks_of
from privmed.data.folders import Item
from privmed.data.keyring import look_of
from privmed.data.lesions import Segmenter
from privmed.data.masks import read_mask
from privmed.errors import InputError, KeyFileError, VerificationError
from privmed.imaging import Picture, read
from privmed.imaging.canvas import Canvas
from privmed.imaging.dicom_identity import Identity
from privmed.imaging.dicom_writing import header_of, notes_of, with_identity
from privmed.imaging.keepout import KeepOut, lesion_boxes, paint
from privmed.imaging.record import fingerprint, make_record, overlay_of, use_record
from privmed.interfaces import Watermarker
from privmed.interfaces.blackbox import Oracle
from privmed.interfaces.watermarker import Placement, Task
from privmed.jobs.contracts import Place
from privmed.limits import read_bytes
from privmed.metrics import psnr, ssim

WHERE = ("anywhere", "outside", "inside")
CLASSES = "Use one sub-folder a class, or a labels.csv with the columns file and label."


@frozen(kw_only=True)
class Marking:
    """How a data set is marked."""

    locker: Watermarker
    logo: Tensor = field(repr=False)
    oracle: Oracle | None  # None for a method that needs none; nothing is known of classes then
    classes: list[str]  # in the order of the oracle's answers
    secret: bytes = field(repr=False)  # where the randomness of every image comes from
    where: str = "anywhere"
    segmenter: Segmenter | None = field(default=None, repr=False)  # says where lesions are that no mask shows
    keep_out: KeepOut = Factory(KeepOut)
    together: int = 8  # images whose candidates share batches; they are in memory together
    identity: Identity | None = field(default=None, repr=False)  # of DICOM files


@frozen
class Models:
    """Files of the models to mislead, from which every worker loads its own."""

    files: Sequence[Path]
    shares: Sequence[float] | None
    device: str
    trust: bool = False

    def load(self, device: str | None = None) -> Oracle | None:
        """Their ensemble; None of no files."""
        from privmed.oracles import Ensemble, load_oracle

        if not self.files:
            return None
        return Ensemble([load_oracle(f, device or self.device, self.trust) for f in self.files], self.shares)


@frozen
class SecretMark:
    """A fingerprint of files that only the owner of the secret can compute: nobody can check a guess of the original with it."""

    secret: bytes = field(repr=False)

    def __call__(self, path: Path) -> str:
        return hmac.new(self.secret, read_bytes(path), hashlib.sha256).hexdigest()


class Target(NamedTuple):
    """One image of a group.

    Attributes:
        item: the image.
        name: in the release and in the key.
        label: its class, if it has one.
        draft: where it is written.
        known: its entry in a key that is gone on with.
    """

    item: Item
    name: str
    label: str | None
    draft: Path
    known: dict[str, Any] | None


class Lesion(NamedTuple):
    """Where the lesions of an image are, (H, W), and who says so: ``"mask"``, ``"network"``, or ``"none found"`` by the network."""

    mask: np.ndarray
    source: str


class Marked(NamedTuple):
    """A written draft: its entry for the key, whether the key has it already, the digests of source and draft, notes for all."""

    entry: dict[str, Any]
    known: bool
    marks: tuple[str, str]
    notes: dict[str, str]


Made = Marked | InputError | VerificationError


@frozen
class Marker:
    """The task of marking; its units are lists of :class:`Target`. In another process it loads the models anew."""

    marking: Marking
    models: Models

    def __reduce__(self) -> tuple[Any, ...]:
        return Marker, (evolve(self.marking, oracle=None), self.models)

    def open(self, place: Place) -> Callable[[list[Target]], list[Made]]:
        """The work."""
        marking = self.marking
        if marking.oracle is None:
            marking = evolve(marking, oracle=self.models.load(place.device))
        if place.device is not None:
            marking = evolve(marking, locker=marking.locker.to(place.device))
            if marking.segmenter is not None:
                marking.segmenter.method.to(place.device)
        return lambda group: mark_group(group, marking)


def mark_group(group: list[Target], marking: Marking) -> list[Made]:
    """Search the marks of a group together, write its drafts, and prove on each that its mark comes off.

    Returns:
        What became of each image, in order.
    """
    opened: list[tuple[Canvas, Task, Lesion | None] | InputError] = []
    for target in group:
        try:
            opened.append(_task(target.item, target.label, marking, target.name))
        except InputError as error:
            opened.append(error)
    good = [pair for pair in opened if not isinstance(pair, InputError)]
    found = iter(marking.locker.place([task for _, task, _ in good], marking.logo, marking.oracle) if good else ())
    made: list[Made] = []
    for pair, target in zip(opened, group):
        if isinstance(pair, InputError):
            made.append(pair)
            continue
        placed = next(found)
        if isinstance(placed, InputError):
            made.append(InputError(f"{target.item.image}: {placed}"))
            continue
        try:
            made.append(_write(target, pair[0], placed, pair[1].label, marking, pair[2]))
        except (InputError, VerificationError) as error:
            made.append(error)
    return made


def _task(item: Item, label: str | None, marking: Marking, name: str) -> tuple[Canvas, Task, Lesion | None]:
    if marking.oracle and label is None:
        raise InputError(f"{item.image}: has no class. {CLASSES}")
    if marking.oracle and label not in marking.classes:
        raise InputError(f"{item.image}: is of class {label!r}, but the model knows {', '.join(marking.classes)}.")
    canvas = Canvas(read(item.image))
    if canvas.picture.lossy:
        raise InputError(f"{item.image}: {canvas.picture.lossy}")
    region = lesion = None
    if marking.where != "anywhere":
        lesion = _lesion(item, canvas, marking)
        boxes = lesion_boxes(lesion.mask, marking.keep_out)
        if not boxes and marking.where == "inside":
            raise InputError(f"{item.mask or item.image}: no lesion is marked in it, so nothing can lie inside.")
        region = torch.from_numpy(paint(boxes, lesion.mask.shape).astype(np.float32))[None, None]
    seed, jitter = (  # the words are part of what a key stands for, so they stay
        hmac.new(marking.secret, what + os.fsencode(name), hashlib.sha256).digest() for what in (b"", b"veil ")
    )
    return (
        canvas,
        Task(
            image=canvas.picture.tensor(),
            label=marking.classes.index(label) if marking.oracle else None,
            forbidden=region if marking.where == "outside" else None,
            target=region if marking.where == "inside" else None,
            generator=int.from_bytes(seed[:7], "big"),
            secret=jitter,
        ),
        lesion,
    )


def _lesion(item: Item, canvas: Canvas, marking: Marking) -> Lesion:
    """Where the lesions of an image are: its mask says it, or a network where there is none."""
    there = item.mask is not None and (marking.segmenter is None or not item.mask.missing)
    if there:
        return Lesion(read_mask(item.mask, canvas.picture.size)[0, 0].numpy(), "mask")
    if marking.segmenter is None:
        raise InputError(
            f"{item.image}: has no mask, so it is not known where its lesion is. Mark anywhere, add masks/, or give a --segmenter."
        )
    mask = marking.segmenter(canvas.picture.tensor())
    return Lesion(mask, "network" if mask.any() else "none found")


def _write(
    target: Target, canvas: Canvas, placed: Placement, label: int | None, marking: Marking, lesion: Lesion | None
) -> Marked:
    """Write one draft, and lift its mark from the written file with its entry, as a proof."""
    item, original, entry = target.item, canvas.picture, target.known
    known = entry is not None and entry["record"]["original"] == fingerprint(original.pixels)
    if known:  # drawn again, so that no image is published with a mark that the key does not know
        picture = canvas.draw(overlay_of(entry["record"]))
    else:
        picture = canvas.draw(placed.overlay)
        entry = _entry(target.name, canvas, picture, placed, label, marking)
        if lesion is not None:
            entry["figures"]["lesion"] = lesion.source
            _check_lesion(item, original, picture, marking, lesion.mask)
    with_identity(picture, marking.identity).save(target.draft, overwrite=True)
    try:
        restored = use_record(read(target.draft).pixels, entry["record"])
    except KeyFileError as error:
        raise VerificationError(f"{item.image}: its mark does not come off exactly, so it was left out.") from error
    if not np.array_equal(restored, original.pixels):
        raise VerificationError(f"{item.image}: its mark does not come off exactly, so it was left out.")
    return Marked(entry, known, marks_of(item, target.draft, SecretMark(marking.secret)), notes_of(original))


def _entry(
    name: str, canvas: Canvas, picture: Picture, placed: Placement, label: int | None, marking: Marking
) -> dict[str, Any]:
    """What the key keeps of an image. The figures are there and not in the manifest: a guess could be checked with them."""
    original = canvas.picture
    if not picture.changed:
        raise InputError(f"{original.source}: the mark cannot be seen on it, so it would be published unmarked.")
    view, seen = original.tensor(), picture.tensor()
    misled = int(marking.oracle(seen).argmax()) != label if marking.oracle else None
    entry = {
        "file": name,
        "record": make_record(original.pixels, picture.pixels, placed.overlay, canvas.max_value),
        "look": look_of(picture),
        "figures": {
            "psnr": _finite(float(psnr(seen, view))),
            "ssim": round(float(ssim(seen, view)), 6),
            "was_right": bool(placed.before.argmax() == label) if marking.oracle else None,
            "misled": misled,
            "queries": placed.queries,
        },
    }
    if original.format == "dicom":
        entry["header"] = header_of(original)
    return entry


def _check_lesion(item: Item, original: Picture, picture: Picture, marking: Marking, mask: np.ndarray) -> None:
    """A mark that was to lie outside the lesions covers no pixel of them."""
    if marking.where == "outside" and marking.keep_out.smallest == 0:
        changed = (original.pixels != picture.pixels).reshape(*original.pixels.shape[:2], -1).any(2)
        if (changed & (mask > 0)).any():
            raise AssertionError(f"{item.image}: the mark covers a part of the lesion")


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
