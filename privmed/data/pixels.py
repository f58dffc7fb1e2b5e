"""Pictures of a data set as small integer tensors in memory, decoded once, cropped and stacked many times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from privmed.data.masks import Mask, foreground
from privmed.errors import InputError
from privmed.imaging import read
from privmed.imaging.wire import to_bytes


def load(path: Path, size: int, *, squash: bool) -> Tensor:
    """Read a picture for training: (3, H, W) uint8.

    Args:
        path: any file :func:`privmed.imaging.read` reads; what is seen of deep pixels is rounded to 8 bits.
        size: the shorter side, or both sides if ``squash``.
        squash: give up the aspect ratio, as the papers of this field do.

    Raises:
        InputError: when the file cannot be read.
    """
    picture = Image.fromarray(to_bytes(read(path).tensor().expand(-1, 3, -1, -1)))
    scale = size / min(picture.size)
    target = (size, size) if squash else tuple(max(size, round(side * scale)) for side in picture.size)
    if picture.size != target:
        picture = picture.resize(target, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def load_mask(mask: Mask, size: int) -> Tensor:
    """Read a mask, (1, size, size) float32, 0 or 1; see :func:`privmed.data.masks.foreground`."""
    seen = foreground(mask)[0, 0]
    picture = Image.fromarray(seen.byte().numpy()).resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(picture))[None].float()


def load_labels(mask: Mask, size: int | None, classes: int) -> Tensor:
    """Read a map of class numbers, (1, size, size) float32 (None: at its own size): 8-bit grey, its pixels are the numbers.

    Raises:
        InputError: when it cannot be read, is not 8-bit grey, or holds a number that is no class.
    """
    picture = read(mask.files[0])
    seen = picture.tensor()[0]
    if len(mask.files) > 1 or picture.bits != 8 or "palette" in picture.extra or len(seen) != 1:
        raise InputError(f"mask {mask}: expected one file in 8-bit grey whose pixels are numbers of classes.")
    return scaled_labels((seen[0] * 255).round(), size, classes, f"mask {mask}")


def scaled_labels(numbers: Tensor, size: int | None, classes: int, where: str) -> Tensor:
    """A map of class numbers (H, W) at another size, (1, size, size) float32: every pixel has the number of the one nearest to it.

    Without a size it stays (1, H, W).

    Raises:
        InputError: naming where they are from, when one of them is no class.
    """
    lowest, highest = int(numbers.min()), int(numbers.max())
    if lowest < 0 or highest >= classes:
        raise InputError(
            f"{where}: holds class {highest if lowest >= 0 else lowest}, but mask_classes is {classes} (0 to {classes - 1}). Set it "
            "higher, or mend the mask."
        )
    if size is None:
        return numbers[None].float()
    small = Image.fromarray(numbers.byte().numpy()).resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(small))[None].float()


class PictureStore:
    """Decoded pictures by path, kept as 8-bit integers (a 224-pixel picture takes 150 kB)."""

    def __init__(self, size: int, *, squash: bool = False) -> None:
        self.size, self.squash = size, squash
        self._kept: dict[Path, Tensor] = {}

    def __call__(self, path: Path) -> Tensor:
        """Return (3, H, W) uint8."""
        if path not in self._kept:
            self._kept[path] = load(path, self.size, squash=self.squash)
        return self._kept[path]

    def random_crop(self, path: Path, side: int, rng: np.random.Generator) -> Tensor:
        """Return a random window (3, side, side) uint8, mirrored half of the time."""
        picture = self(path)
        top, left = (int(rng.integers(0, n - side + 1)) for n in picture.shape[-2:])
        window = picture[:, top : top + side, left : left + side]
        return window.flip(2) if rng.random() < 0.5 else window

    def centre(self, path: Path) -> Tensor:
        """Return the central square (3, size, size) uint8."""
        picture = self(path)
        top, left = ((n - self.size) // 2 for n in picture.shape[-2:])
        return picture[:, top : top + self.size, left : left + self.size]


def as_batch(pictures: list[Tensor]) -> Tensor:
    """Stack 8-bit pictures as (B, 3, H, W) float32 in [0, 1]."""
    return torch.stack(pictures).float().div_(255)
