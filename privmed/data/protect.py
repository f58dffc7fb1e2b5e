"""Protect a data set on disk: fit, change every image in its own format and depth, prove the bound on the written file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privmed.data.folders import Item
from privmed.errors import InputError, VerificationError
from privmed.evaluation.metrics import psnr, ssim
from privmed.imaging import read
from privmed.imaging.canvas import levels_of
from privmed.interfaces import Protector

TOLERANCE = 1e-6  # float32 cannot hold 4/255 exactly


def read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """Read a mask at its own size, (1, 1, H, W), 0 or 1.

    Raises:
        InputError: when it is missing, of another size than its image, or holds more than two values.
    """
    pixels = read(path).pixels
    pixels = pixels.max(2) if pixels.ndim == 3 else pixels
    if pixels.shape != size:
        raise InputError(
            f"{path}: the mask is {pixels.shape[1]} x {pixels.shape[0]}, but its image {size[1]} x {size[0]} pixels."
        )
    values = np.unique(pixels)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise InputError(
            f"{path}: the mask holds {len(values)} values ({values[0]} to {values[-1]}), expected 0 and one other. Threshold it first."
        )
    return torch.from_numpy((pixels > 0).astype(np.float32))[None, None]


def truth_of(item: Item, classes: list[str], size: tuple[int, int]) -> Tensor:
    """What an exploiter would train on: the mask, or the number of the class."""
    if item.mask is not None:
        return read_mask(item.mask, size)
    return torch.tensor([classes.index(item.label) if item.label in classes else 0])


def pairs_of(
    items: list[Item], classes: list[str], failed: Callable[[Item, InputError], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read pairs for a fit, one after the other; what cannot be read goes to ``failed`` and is left out."""
    for item in items:
        try:
            picture = read(item.image)
            pair = picture.tensor(), truth_of(item, classes, picture.size)
        except InputError as error:
            failed(item, error)
            continue
        yield pair[0], pair[1]


def protect_file(protector: Protector, item: Item, target: Path, classes: list[str]) -> dict[str, Any]:
    """Protect one image and write it in its own format, depth and tags.

    Returns:
        Figures of the *written* file: PSNR in dB, SSIM, largest change on the [0, 1] scale.

    Raises:
        InputError: when image or mask cannot be used, or nothing in the image may be changed.
        LossError: when its format cannot keep the change.
        VerificationError: when the written file breaks the bound, or equals its source; it is removed.
    """
    picture = read(item.image)
    view, truth = picture.tensor(), truth_of(item, classes, picture.size)
    if not protector.support(view, truth).any():
        raise InputError(
            f"{item.image}: {protector.name} has nothing to act on (an empty mask?), so it would be published unprotected."
        )
    protected = protector.protect(view, truth, levels=levels_of(picture))
    picture.within(protected, protector.reach).save(target, overwrite=True)
    written = read(target).tensor()
    change = float((written - view).abs().max())
    if change > protector.reach + TOLERANCE:
        target.unlink()
        raise VerificationError(
            f"{target}: moved a pixel by {change:.5f}, more than the {protector.reach:.5f} promised, so it was removed."
        )
    if change == 0:
        target.unlink()
        raise VerificationError(
            f"{item.image}: {protector.name} changed nothing that its {picture.bits} bits can hold, so it was left out as unprotected. "
            "Fit for longer, or allow a larger epsilon."
        )
    return {
        "psnr": round(float(psnr(written, view)), 3),
        "ssim": round(float(ssim(written, view)), 6),
        "largest_change": round(change, 6),
    }
