"""A data set as comparisons see it, whatever files it comes in: samples with their truth, a split, a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from attrs import evolve, field, frozen
from PIL import Image
from torch import Tensor

from privmed.data.split import Key, draw_split
from privmed.errors import InputError
from privmed.imaging.wire import to_bytes


@frozen(kw_only=True)
class Sample:
    """One image.

    Attributes:
        name: unique in the set.
        image: gives (1, 1 or 3, H, W) in [0, 1].
        mask: gives the truth, (1, 1, H, W), 0 or 1; None where there is none.
        numbers: gives the truth as numbers of classes, (1, size, size), from a size (None: (1, H, W), as it is) and how many classes
            there are; None where no file holds such.
        label: its class, if the set has some.
        group: what shows the same patient or lesion; groups are never torn apart.
        split: "train", "test", or empty where the set does not say.
    """

    name: str
    image: Callable[[], Tensor] = field(repr=False)
    mask: Callable[[], Tensor] | None = field(default=None, repr=False)
    numbers: Callable[[int | None, int], Tensor] | None = field(default=None, repr=False)
    label: str | None = None
    group: str = ""
    split: str = ""


class Dataset:
    """Samples of one set.

    Args:
        name: for tables.
        samples: all of them; where none names its split, it is drawn as in :mod:`privmed.data.split`.
        digest: hash of all contents, where a reader has a cheaper one than hashing every sample.
        origin: for messages.
    """

    def __init__(
        self,
        name: str,
        samples: list[Sample],
        *,
        digest: Callable[[str | None], str] | None = None,
        origin: Path | str = "",
    ) -> None:
        self.name, self.origin, self._digest = name, origin or name, digest
        if not samples:
            raise InputError(f"data set {self.origin}: no pictures.")
        self.has_split = any(s.split for s in samples)
        self.samples = samples if self.has_split else drawn(samples)

    def part(self, split: str) -> list[Sample]:
        """The samples of a split, in a fixed order.

        Raises:
            InputError: when there is none.
        """
        found = [s for s in self.samples if s.split == split]
        if not found:
            raise InputError(f"data set {self.origin}: no pictures in its {split} split.")
        return found

    def digest(self, split: str | None = None) -> str:
        """Whether two runs saw the same data."""
        if self._digest is not None:
            return self._digest(split)
        whole = hashlib.sha256()
        for s in self.samples:
            if split in (None, s.split):
                whole.update(f"{s.name}:{s.split}:{s.label}\n".encode())
                for part in (s.image, s.mask):
                    whole.update(b"" if part is None else part().mul(255).round().byte().numpy().tobytes())
        return whole.hexdigest()[:16]


def drawn(samples: list[Sample]) -> list[Sample]:
    """The same samples with a split, along groups and classes."""
    parts = draw_split([Key(s.group or s.name, s.label) for s in samples])
    return [evolve(s, split=part) for s, part in zip(samples, parts)]


def picture(sample: Sample, size: int, *, squash: bool = True) -> Tensor:
    """An image as networks see it, (3, H, W) uint8; both sides ``size``, or with ``squash`` off the shorter one."""
    whole = Image.fromarray(to_bytes(sample.image().expand(-1, 3, -1, -1)))
    scale = size / min(whole.size)
    target = (size, size) if squash else tuple(max(size, round(side * scale)) for side in whole.size)
    if whole.size != target:
        whole = whole.resize(target, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(whole)).permute(2, 0, 1)


def centre(sample: Sample, size: int) -> Tensor:
    """The central square of an image, (3, size, size) uint8."""
    whole = picture(sample, size, squash=False)
    top, left = ((n - size) // 2 for n in whole.shape[-2:])
    return whole[:, top : top + size, left : left + size]


def truth(sample: Sample, size: int) -> Tensor:
    """A mask at one size, (1, size, size) float32, 0 or 1.

    Raises:
        InputError: when the sample has none.
    """
    if sample.mask is None:
        raise InputError(f"{sample.name}: has no mask, which this suite needs.")
    seen = sample.mask()[0].amax(0)
    small = Image.fromarray((seen > 0.5).byte().numpy()).resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(small))[None].float()
