"""Watermark a data set on disk."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import Factory, field, frozen
from torch import Tensor

from privmed.data.folders import ImageFolder, Item
from privmed.data.keyring import look_of
from privmed.data.protect import read_mask
from privmed.data.release import Outcome, Release, Tick
from privmed.errors import InputError, KeyFileError, VerificationError
from privmed.imaging import Picture, read
from privmed.imaging.canvas import Canvas
from privmed.imaging.keepout import KeepOut, lesion_boxes, paint
from privmed.imaging.record import fingerprint, make_record, overlay_of, use_record
from privmed.interfaces import Watermarker
from privmed.interfaces.blackbox import Oracle
from privmed.interfaces.watermarker import Placement, Task
from privmed.keyfile import KeyWriter
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
    keep_out: KeepOut = Factory(KeepOut)
    together: int = 8  # images whose candidates share batches; they are in memory together


def secret_mark(secret: bytes) -> Callable[[Path], str]:
    """A fingerprint of files that only the owner of the secret can compute: nobody can check a guess of the original with it."""

    def mark(path: Path) -> str:
        return hmac.new(secret, read_bytes(path), hashlib.sha256).hexdigest()

    return mark


def labels_of(source: ImageFolder, items: Sequence[Item]) -> dict[Path, str]:
    """The class of each image that has one: what ``labels.csv`` (``file,label``) says, or else its sub-folder.

    Raises:
        InputError: when no image has one, or the table cannot be read.
    """
    table = source.table("labels.csv", "label")
    found = {i.image: table.get(i.image.relative_to(source.root).as_posix()) or i.label for i in items}
    if items and not any(found.values()):
        raise InputError(f"data set {source.path}: no image has a class. {CLASSES}")
    return {image: label for image, label in found.items() if label}


def watermark_set(
    release: Release,
    items: list[Item],
    marking: Marking,
    writer: KeyWriter,
    known: dict[str, dict[str, Any]],
    *,
    strict: bool = False,
    tick: Tick = lambda *_: None,
) -> Outcome:
    """Mark images group by group. The key grows before the image it belongs to is written.

    Args:
        release: the output folder.
        items: what to mark. The same items in the same order give the same marks, whether the run is interrupted or not.
        marking: how.
        writer: the key.
        known: the last entry of each file that an interrupted run left in the key. What it says is drawn again rather than searched
            anew, so that no image is published with a mark that the key does not know.
        strict: stop at the first image that cannot be marked.
        tick: told how far it is.

    Returns:
        What was written, a line for each image with figures that only its owner should see; what was kept; and what failed.
    """
    outcome, labels = Outcome(), labels_of(release.source, items) if marking.oracle else {}
    for start in range(0, len(items), marking.together):
        group = items[start : start + marking.together]
        if all(release.is_done(item) and release.name(item) in known for item in group):
            outcome.kept += len(group)
        else:
            for item, made in zip(group, _marked(group, labels, marking, release)):
                try:
                    if isinstance(made, InputError):
                        raise made
                    _publish(item, *made, marking, release, writer, known, outcome)
                except (InputError, VerificationError) as error:
                    if strict:
                        raise
                    outcome.failed.append((release.name(item), str(error)))
        tick(min(start + marking.together, len(items)), len(items))
    return outcome


def _marked(
    group: list[Item], labels: dict[Path, str], marking: Marking, release: Release
) -> Iterator[tuple[Canvas, Placement, int | None] | InputError]:
    """Where the mark of each image of a group goes, or why it cannot be marked."""
    opened: list[tuple[Canvas, Task] | InputError] = []
    for item in group:
        try:
            opened.append(_task(item, labels.get(item.image), marking, release.name(item)))
        except InputError as error:
            opened.append(error)
    good = [pair for pair in opened if not isinstance(pair, InputError)]
    found = iter(marking.locker.place([task for _, task in good], marking.logo, marking.oracle) if good else ())
    for pair, item in zip(opened, group):
        if isinstance(pair, InputError):
            yield pair
            continue
        placed = next(found)
        yield (
            InputError(f"{item.image}: {placed}")
            if isinstance(placed, InputError)
            else (pair[0], placed, pair[1].label)
        )


def _task(item: Item, label: str | None, marking: Marking, name: str) -> tuple[Canvas, Task]:
    if marking.oracle and label is None:
        raise InputError(f"{item.image}: has no class. {CLASSES}")
    if marking.oracle and label not in marking.classes:
        raise InputError(f"{item.image}: is of class {label!r}, but the model knows {', '.join(marking.classes)}.")
    canvas = Canvas(read(item.image))
    if canvas.picture.lossy:
        raise InputError(f"{item.image}: {canvas.picture.lossy}")
    region = None
    if marking.where != "anywhere":
        if item.mask is None:
            raise InputError(
                f"{item.image}: has no mask, so it is not known where its lesion is. Mark anywhere, or add masks/."
            )
        mask = read_mask(item.mask, canvas.picture.size)[0, 0].numpy()
        boxes = lesion_boxes(mask, marking.keep_out)
        if not boxes and marking.where == "inside":
            raise InputError(f"{item.mask}: no lesion is marked in it, so nothing can lie inside.")
        region = torch.from_numpy(paint(boxes, mask.shape).astype(np.float32))[None, None]
    seed, jitter = (  # the words are part of what a key stands for, so they stay
        hmac.new(marking.secret, what + os.fsencode(name), hashlib.sha256).digest() for what in (b"", b"veil ")
    )
    return canvas, Task(
        image=canvas.picture.tensor(),
        label=marking.classes.index(label) if marking.oracle else None,
        forbidden=region if marking.where == "outside" else None,
        target=region if marking.where == "inside" else None,
        generator=int.from_bytes(seed[:7], "big"),
        secret=jitter,
    )


def _publish(
    item: Item,
    canvas: Canvas,
    placed: Placement,
    label: int | None,
    marking: Marking,
    release: Release,
    writer: KeyWriter,
    known: dict[str, dict[str, Any]],
    outcome: Outcome,
) -> None:
    """Write one image, and lift its mark from the written file with the entry that is in the key, as a proof."""
    original, name, draft = canvas.picture, release.name(item), release.draft(item)
    entry = known.get(name)
    if entry is None or entry["record"]["original"] != fingerprint(original.pixels):
        picture = canvas.draw(placed.overlay)
        entry = _entry(name, canvas, picture, placed, label, marking)
        _check_lesion(item, original, picture, marking)
        writer.add(entry)
    else:
        picture = canvas.draw(overlay_of(entry["record"]))
    picture.save(draft, overwrite=True)
    try:
        restored = use_record(read(draft).pixels, entry["record"])
    except KeyFileError as error:
        raise VerificationError(f"{item.image}: its mark does not come off exactly, so it was left out.") from error
    if not np.array_equal(restored, original.pixels):
        raise VerificationError(f"{item.image}: its mark does not come off exactly, so it was left out.")
    release.add(item, draft)
    known[name] = {key: entry[key] for key in ("file", "figures")} | {
        "record": {"original": entry["record"]["original"]}
    }
    outcome.written.append(known[name])


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
        from privmed.imaging.dicom_writing import header_of

        entry["header"] = header_of(original)
    return entry


def _check_lesion(item: Item, original: Picture, picture: Picture, marking: Marking) -> None:
    """A mark that was to lie outside the lesions covers no pixel of them."""
    if marking.where == "outside" and marking.keep_out.smallest == 0:
        changed = (original.pixels != picture.pixels).reshape(*original.pixels.shape[:2], -1).any(2)
        if (changed & (read_mask(item.mask, original.size)[0, 0].numpy() > 0)).any():
            raise AssertionError(f"{item.image}: the mark covers a part of the lesion")


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
