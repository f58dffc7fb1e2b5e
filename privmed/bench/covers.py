"""Test photographs that scans are hidden in, and the kinds that hiding finds easy or hard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from privmed.bench.data import Dataset, centre
from privmed.errors import InputError

ALL = "all"
CLIPPED = 0.15  # share of values at 0 or 255 above which hiding loses what it pushes over the edge
DARK = 0.3  # mean below which a photograph is dark
SMOOTH, TEXTURED = 5.0, 15.0  # mean step between neighbours, in grey levels


def clipped(photograph: Tensor) -> float:
    """Share of the values of (3, H, W) uint8 at 0 or 255."""
    return float(((photograph == 0) | (photograph == 255)).float().mean())


def brightness(photograph: Tensor) -> float:
    """Mean of (3, H, W) uint8, from 0 to 1."""
    return float(photograph.float().mean() / 255)


def texture(photograph: Tensor) -> float:
    """Mean step between neighbours of the grey version of (3, H, W) uint8, in levels, over both directions."""
    grey = photograph.float().mean(0)
    return float((grey.diff(dim=0).abs().mean() + grey.diff(dim=1).abs().mean()) / 2)


GROUPS: dict[str, Callable[[Tensor], bool]] = {
    "clipped": lambda x: clipped(x) > CLIPPED,
    "dark": lambda x: brightness(x) < DARK,
    "smooth": lambda x: texture(x) < SMOOTH,
    "textured": lambda x: texture(x) > TEXTURED,
}
"""Which photographs are in a group, of the square that is used; one may be in several."""


class Photographs:
    """Test photographs of a set, the same ones for the same image whatever the method.

    Args:
        dataset: the photographs.
        size: side of the central square that is taken.
        count: of an image, or fewer where there are no more.
        group: only those of this group.

    Raises:
        InputError: when there is none.
    """

    def __init__(self, dataset: Dataset, size: int, count: int, group: str = ALL) -> None:
        self.files, self.size = dataset.part("test"), size
        self._kept: dict[int, Tensor] = {}
        if group != ALL:
            self.files = [f for f in self.files if GROUPS[group](centre(f, size))]
        if not self.files:
            raise InputError(
                f"data set {dataset.name}: none of its test photographs is {group} at {size} x {size}. Leave the group out."
            )
        self.count = min(count, len(self.files))

    def of(self, index: int, seed: int = 0) -> Tensor:
        """The covers of the index-th image, (count, 3, size, size) in [0, 1]."""
        chosen = np.random.default_rng([seed, index]).choice(len(self.files), self.count, replace=False)
        for n in map(int, chosen):
            if n not in self._kept:
                self._kept[n] = centre(self.files[n], self.size)
        return torch.stack([self._kept[int(n)] for n in chosen]).float() / 255
