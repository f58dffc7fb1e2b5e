"""Basin-hopping evolution, the search of MedLocker: its mutants come from a walk.

It is written as the Metropolis walk that it amounts to: the local minimiser of its ancestor (X. Jia et al., "Adv-watermark", ACM MM
2020) does nothing, because candidates are cut to integers.
"""

from __future__ import annotations

import numpy as np

from privmed_watermarkers.medlocker.evolution import RandomMutation
from privmed_watermarkers.medlocker.search import SpaceSearch


class Walk(SpaceSearch):
    """A Metropolis walk from every individual at once; ``best`` and ``lowest`` are where each was best.

    Args:
        x: where it begins, (n, 3).
        f: the losses there, (n,).
    """

    def __init__(self, space, rng, settings, x: np.ndarray, f: np.ndarray) -> None:
        super().__init__(space, rng, settings)
        self.at, self.f = x.copy(), f.copy()
        self.best, self.lowest = x.copy(), f.copy()
        self.hop = 0

    @property
    def done(self) -> bool:
        return self.hop == self.settings.hops

    def ask(self) -> np.ndarray:
        longest = self.settings.step * np.array([2.0, 5.0, 5.0])
        self.proposal = self.at + self.rng.uniform(-longest, longest, self.at.shape)
        self.luck = self.rng.random(len(self.at))
        self.allowed = np.flatnonzero(self.space.holds(self.proposal))
        return self.proposal[self.allowed]

    def tell(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        self.hop += 1
        slack = -self.settings.temperature * np.log(np.maximum(self.luck[self.allowed], 1e-300))
        downhill = losses - self.f[self.allowed] <= slack
        moved = self.allowed[downhill]
        self.at[moved], self.f[moved] = candidates[downhill], losses[downhill]
        improved = moved[self.f[moved] < self.lowest[moved]]
        self.best[improved], self.lowest[improved] = self.at[improved], self.f[improved]


class BasinHopping(RandomMutation):
    """The evolution whose mutants are the best points of walks."""

    def _mutation(self) -> Walk:
        return Walk(self.space, self.rng, self.settings, self.x, self.f)
