"""Masks as data sets bring them: one file an image or several, in 0 and 1 or 0 and 255, without loss or as a JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging import Picture, read

BETWEEN = (
    0.05  # of the pixels of a JPEG that may lie in the middle half of the range and still be the blur of an outline
)


@frozen
class Mask:
    """The truth of an image, which is the union of its files."""

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return str(self.files[0])

    @property
    def missing(self) -> list[Path]:
        """Those of its files that are not there."""
        return [path for path in self.files if not path.is_file()]


def foreground(mask: Mask) -> Tensor:
    """A mask at its own size, (1, 1, H, W), 0 or 1: what exceeds half of the largest value, or of the range of a JPEG.

    Raises:
        InputError: when a file cannot be read, or two of one mask differ in size.
    """
    parts = [_above_half(read(path)) for path in mask.files]
    if len({p.shape for p in parts}) > 1:
        raise InputError(f"{mask}: the {len(parts)} masks of this image differ in size.")
    return torch.stack(parts).amax(0)[None, None]


def read_mask(mask: Mask, size: tuple[int, int]) -> Tensor:
    """As :func:`foreground`, of a mask that must be one: of the size of its image, and of two values, or nearly so in a JPEG.

    Raises:
        InputError: when it is missing, of another size than its image, or holds more than two values.
    """
    for path in mask.files:
        _check(path, read(path), size)
    return foreground(mask)


def _above_half(picture: Picture) -> Tensor:
    seen = picture.tensor()[0].amax(0)
    half = 0.5 if picture.format == "jpeg" else seen.max() / 2
    return (seen > half).float()


def _check(path: Path, picture: Picture, size: tuple[int, int]) -> None:
    pixels = picture.pixels.max(2) if picture.pixels.ndim == 3 else picture.pixels
    if pixels.shape != size:
        raise InputError(
            f"{path}: the mask is {pixels.shape[1]} x {pixels.shape[0]}, but its image {size[1]} x {size[0]} pixels."
        )
    if picture.format == "jpeg":
        share = float(((pixels > 64) & (pixels < 192)).mean())
        if share > BETWEEN:
            raise InputError(f"{path}: {share:.0%} of the mask are neither dark nor bright. Threshold it first.")
        return
    values = np.unique(pixels)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise InputError(
            f"{path}: the mask holds {len(values)} values ({values[0]} to {values[-1]}), expected 0 and one other. Threshold it first."
        )
