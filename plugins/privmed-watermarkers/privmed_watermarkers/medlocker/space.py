"""The box that MedLocker searches: opacity limit, column and row, of which some positions may be forbidden."""

from __future__ import annotations

import numpy as np


class Space:
    """Candidates (n, 3): opacity limit, column, row; real numbers that are cut to integers when they are used.

    Args:
        low: smallest opacity limit.
        high: largest.
        positions: (rows, columns) bool, where the upper left corner of the mark may be.
    """

    def __init__(self, low: float, high: float, positions: np.ndarray) -> None:
        self.low, self.high, self.positions = low, high, positions
        self._rows, self._columns = np.nonzero(positions)

    @property
    def top(self) -> np.ndarray:
        """The upper corner of the box; its lower one is (low, 0, 0)."""
        rows, columns = self.positions.shape
        return np.array([self.high, columns - 1e-6, rows - 1e-6])

    @property
    def bottom(self) -> np.ndarray:
        """The lower corner of the box."""
        return np.array([self.low, 0.0, 0.0])

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Uniform draws from what is allowed."""
        chosen = rng.integers(len(self._rows), size=count)
        inside = rng.random((2, count)) * (1 - 1e-6)
        opacity = rng.uniform(self.low, self.high, count)
        return np.stack([opacity, self._columns[chosen] + inside[0], self._rows[chosen] + inside[1]], 1)

    def holds(self, candidates: np.ndarray) -> np.ndarray:
        """Which candidates are allowed, (n,) bool."""
        ok = ((candidates >= self.bottom) & (candidates <= self.top)).all(1)
        at = candidates.astype(np.int64)
        ok[ok] = self.positions[at[ok, 2], at[ok, 1]]
        return ok

    def nearest(self, candidates: np.ndarray) -> np.ndarray:
        """Candidates moved to the nearest allowed place."""
        out = np.clip(candidates, self.bottom, self.top)
        for row in np.flatnonzero(~self.holds(out)):
            gap = (self._columns - out[row, 1]) ** 2 + (self._rows - out[row, 2]) ** 2
            near = int(gap.argmin())
            out[row, 1:] = self._columns[near], self._rows[near]
        return out
