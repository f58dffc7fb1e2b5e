"""The decoding chain: from stored values to what is seen, and back for small changes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from attrs import field, frozen

from privmed.errors import LossError


class Step(Protocol):
    """One step of the chain, on arrays of any shape."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Apply the step."""
        ...

    def slope(self, x: np.ndarray) -> np.ndarray | float:
        """Its derivative at ``x``; zero where it saturates."""
        ...


@frozen
class Linear:
    """``gain * x + offset``: scaling to [0, 1], DICOM's rescale slope and intercept, MONOCHROME1's inversion."""

    gain: float
    offset: float = 0.0

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x * self.gain + self.offset

    def slope(self, x: np.ndarray) -> float:
        return self.gain


@frozen
class Clip:
    """Limit to [low, high]: what a window does outside its width."""

    low: float = 0.0
    high: float = 1.0

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, self.low, self.high)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return ((x >= self.low) & (x <= self.high)).astype(np.float64)


@frozen
class Sigmoid:
    """DICOM's VOI LUT function SIGMOID, to [0, 1] (PS3.3 C.11.2.1.3.1)."""

    centre: float
    width: float

    def forward(self, x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-4 * (x - self.centre) / self.width))

    def slope(self, x: np.ndarray) -> np.ndarray:
        y = self.forward(x)
        return 4 / self.width * y * (1 - y)


@frozen(eq=False)
class Table:
    """A lookup table that begins at ``first``; values outside take the first or last entry (DICOM modality and VOI LUT)."""

    entries: np.ndarray
    first: int

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.entries[self._index(x)].astype(np.float64)

    def slope(self, x: np.ndarray) -> np.ndarray:
        return np.gradient(self.entries.astype(np.float64))[self._index(x)]

    def _index(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x).astype(np.int64) - self.first, 0, len(self.entries) - 1)


@frozen(eq=False)
class Palette:
    """Colours of indices, (N, 3) in [0, 1]."""

    colours: np.ndarray
    first: int = 0

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.colours[np.clip(x.astype(np.int64) - self.first, 0, len(self.colours) - 1)]

    def slope(self, x: np.ndarray) -> float:
        return 0.0


@frozen(eq=False)
class Chain:
    """Steps from stored values to [0, 1], with the range that stored values may take."""

    steps: tuple[Step, ...]
    low: float = field()
    high: float = field()

    @property
    def makes_colour(self) -> bool:
        """Whether grey stored values become colours."""
        return any(isinstance(step, Palette) for step in self.steps)

    def forward(self, pixels: np.ndarray) -> np.ndarray:
        """Stored values to what is seen, float64 in [0, 1]."""
        x = pixels.astype(np.float64)
        for step in self.steps:
            x = step.forward(x)
        return x

    def add(self, pixels: np.ndarray, residual: np.ndarray, source: Path) -> np.ndarray:
        """Add a change of what is seen to the stored values.

        Where the chain saturates its slope is zero; there the slope of the same chain without its limits is used, so that a change back
        into the visible range moves the stored value the right way.

        Raises:
            LossError: for palette images.
        """
        if self.makes_colour:
            raise LossError(
                f"{source}: its pixels are palette indices, which cannot be changed a little. Convert it to RGB first."
            )
        x, slope = pixels.astype(np.float64), np.ones(())
        for step in self.steps:
            here = 1.0 if isinstance(step, Clip) else step.slope(x)
            slope, x = slope * here, step.forward(x)
        flat = np.abs(slope) < 1e-12
        change = np.where(flat, 0, residual / np.where(flat, 1, slope))
        return np.clip(np.rint(pixels + change), self.low, self.high).astype(pixels.dtype)


def unit_chain(dtype: np.dtype, bits: int | None = None) -> Chain:
    """The chain of ordinary pictures: stored integers over their largest value."""
    top = 2 ** (bits or 8 * dtype.itemsize) - 1
    return Chain((Linear(1 / top),), 0, top)
