"""Protect a data set on disk: fit, change every image in its own format and depth, prove the bound on the written file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attrs import field, frozen
from torch import Tensor

from privmed.data.folders import ImageFolder, Item
from privmed.data.masks import read_mask
from privmed.errors import InputError, LossError, VerificationError
from privmed.imaging import read
from privmed.imaging.canvas import max_value_of
from privmed.imaging.dicom_identity import Identity
from privmed.imaging.dicom_writing import notes_of, with_identity
from privmed.imaging.picture import Picture
from privmed.interfaces import Protector
from privmed.interfaces.fitting import Fitting, Report
from privmed.interfaces.validation import MINIMUM_SIDE
from privmed.jobs.batches import in_groups
from privmed.jobs.contracts import Place
from privmed.metrics import psnr, ssim

CHECKPOINT, FITTED = "fit.pt", "fitted.pt"  # of a fit that goes on, and of one that has ended
TOLERANCE = 1e-6  # float32 cannot hold 4/255 exactly


def classes_of(source: ImageFolder) -> list[str]:
    """Names of the classes of a set, whatever part of it is asked for: numbers mean the same in every part. None with masks.

    Raises:
        InputError: when there are neither masks nor classes.
    """
    if source.has_masks:
        return []
    classes = sorted({item.label for item in source.items() if item.label is not None})
    if not classes:
        raise InputError(
            f"data set {source.path}: has neither a folder masks/ beside images/ nor one sub-folder a class, so there is nothing "
            "that a model could be kept from learning."
        )
    return classes


def truth_of(item: Item, classes: list[str], size: tuple[int, int]) -> Tensor:
    """What an exploiter would train on: the mask, or the number of the class.

    Raises:
        InputError: when the mask cannot be used, or the image belongs to none of the classes.
    """
    if item.mask is not None:
        return read_mask(item.mask, size)
    if not classes:
        raise InputError(f"{item.image}: has no mask, and the truth of this data set are masks.")
    if item.label not in classes:
        raise InputError(f"{item.image}: belongs to no class, expected it in one of the folders {', '.join(classes)}.")
    return torch.tensor([classes.index(item.label)])


def check_usable(picture: Picture) -> None:
    """Say before a fit what would be found out after it.

    Raises:
        InputError: for an image that is too small.
        LossError: for one whose format could not keep the change.
    """
    if min(picture.size) < MINIMUM_SIDE:
        height, width = picture.size
        raise InputError(f"{picture.source}: is {width} x {height} pixels, expected sides of at least {MINIMUM_SIDE}.")
    if picture.lossy:
        raise LossError(f"{picture.source}: {picture.lossy}")


def pairs_of(
    items: list[Item], classes: list[str], failed: Callable[[Item, InputError], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read pairs for a fit, one after the other; what cannot be read goes to ``failed`` and is left out."""
    for item in items:
        try:
            picture = read(item.image)
            check_usable(picture)
            pair = picture.tensor(), truth_of(item, classes, picture.size)
        except InputError as error:
            failed(item, error)
            continue
        yield pair[0], pair[1]


def fit_in(folder: Path, method: Protector, pairs: Iterable[tuple[Tensor, Tensor]], report: Report) -> None:
    """Fit a protector, and keep its state in the work folder of its release: who goes on with the release goes on with this fit.

    Raises:
        WeightsError: when the folder holds a fit of another method or other settings.
        InputError, TrainingError: as :meth:`Protector.fit`.
    """
    done = Fitting(checkpoint=folder / FITTED)
    done.of = f"{method.name} {method.config}"
    if (state := done.restore()) is not None:
        method.load_state_dict(state)
        method.requires_grad_(False).eval()
        return
    fitting = Fitting(report, folder / CHECKPOINT)
    method.fit(pairs, fitting=fitting)
    done.keep(method.state_dict())
    fitting.forget()


@frozen
class Protecting:
    """The task of :func:`protect_file`; its units are ``(item, draft)``."""

    protector: Protector
    classes: list[str]
    identity: Identity | None = field(default=None, repr=False)

    def open(self, place: Place) -> Callable[[tuple[Item, Path]], dict[str, Any]]:
        """The work."""
        protector = self.protector if place.device is None else self.protector.to(place.device)
        return lambda payload: protect_file(protector, *payload, self.classes, self.identity)

    def open_batches(self, place: Place) -> Callable[[list[tuple[Item, Path]]], list[Any]]:
        """The work on batches: images of one size, and one number of grey levels, are protected together."""
        alone = self.open(place)

        def together(_: list[tuple[Item, Path]], read: list[Readable]) -> tuple[Tensor, ...]:
            views, truths = torch.cat([one.view for one in read]), torch.cat([one.truth for one in read])
            return self.protector.protect(views, truths, levels=max_value_of(read[0].picture)).split(1)

        return lambda payloads: in_groups(
            payloads,
            lambda payload: readable(self.protector, payload[0], self.classes),
            lambda one: (tuple(one.view.shape), max_value_of(one.picture)),
            together,
            lambda payload, one, protected: write_protected(self.protector, one, protected, *payload, self.identity),
            alone,
        )


class Readable(NamedTuple):
    """A picture, what is seen of it, (1, C, H, W), and what an exploiter would train on."""

    picture: Picture
    view: Tensor
    truth: Tensor


def protect_file(
    protector: Protector, item: Item, draft: Path, classes: list[str], identity: Identity | None = None
) -> dict[str, Any]:
    """Protect one image and write it in its own format, depth and tags; a DICOM file gets the identity that it has in its set.

    Returns:
        Figures of the *written* file: PSNR in dB, SSIM, largest change on the [0, 1] scale.

    Raises:
        InputError: when image or mask cannot be used, or nothing in the image may be changed.
        LossError: when its format cannot keep the change.
        VerificationError: when the written file breaks the bound, or equals its source; it must not be published then.
    """
    one = readable(protector, item, classes)
    protected = protector.protect(one.view, one.truth, levels=max_value_of(one.picture))
    return write_protected(protector, one, protected, item, draft, identity)


def readable(protector: Protector, item: Item, classes: list[str]) -> Readable:
    """Read an image and its truth.

    Raises:
        InputError: when one of them cannot be used, or nothing in the image may be changed.
    """
    picture = read(item.image)
    check_usable(picture)
    view, truth = picture.tensor(), truth_of(item, classes, picture.size)
    if not protector.support(view, truth).any():
        raise InputError(
            f"{item.image}: {protector.name} has nothing to act on (an empty mask?), so it would be published unprotected."
        )
    return Readable(picture, view, truth)


def write_protected(
    protector: Protector, one: Readable, protected: Tensor, item: Item, draft: Path, identity: Identity | None = None
) -> dict[str, Any]:
    """Write a protected image, and prove the bound on the file; returns and raises as :func:`protect_file`."""
    picture, view = one.picture, one.view
    with_identity(picture.within(protected, protector.reach), identity).save(draft, overwrite=True)
    written = read(draft).tensor()
    change = float((written - view).abs().max())
    if change > protector.reach + TOLERANCE:
        raise VerificationError(
            f"{item.image}: {protector.name} moved a pixel by {change:.5f}, beyond the bound of {protector.reach:.5f}, so it was left out."
        )
    if change == 0:
        raise VerificationError(
            f"{item.image}: {protector.name} changed nothing that its {picture.bits} bits can hold, so it was left out as unprotected. "
            f"{'Fit for longer, or allow' if protector.learns else 'Allow'} a larger epsilon."
        )
    return {
        "psnr": round(float(psnr(written, view)), 3),
        "ssim": round(float(ssim(written, view)), 6),
        "largest_change": round(change, 6),
        **notes_of(picture),
    }
