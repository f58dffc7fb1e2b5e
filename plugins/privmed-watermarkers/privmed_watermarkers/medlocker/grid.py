"""Ours, not the paper's: the strongest marks on a shifted grid first, then walks from the best of them."""

from __future__ import annotations

import numpy as np

from privmed_watermarkers.medlocker.search import SpaceSearch


class GridFirst(SpaceSearch):
    """As many questions as the evolution."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.x, self.f = np.zeros((0, 3)), np.zeros(0)
        self.turn = -1

    @property
    def done(self) -> bool:
        return self.turn == self.settings.generations * (self.settings.hops + 1)

    def ask(self) -> np.ndarray:
        return self._lattice() if self.turn < 0 else self._walked()

    def tell(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        self.x, self.f = np.concatenate([self.x, candidates]), np.concatenate([self.f, losses])
        self.turn += 1

    def _lattice(self) -> np.ndarray:
        count, (rows, columns) = self.settings.population, self.space.positions.shape
        x = self.space.sample(self.rng, count)
        x[:, 0] = self.settings.high
        many = int(np.ceil(np.sqrt(count)))
        v, u = np.meshgrid(np.arange(many), np.arange(many), indexing="ij")
        shift = self.rng.random(2)
        lattice = (np.stack([u.ravel(), v.ravel()], 1)[:count] + shift) / many
        x[:, 1:] = lattice * np.array([columns, rows])
        return self.space.nearest(x)

    def _walked(self) -> np.ndarray:
        count = self.settings.population
        order = self.f.argsort()[: max(2, count // 5)]
        parents = self.x[self.rng.choice(order, count)]
        spread = self.settings.step * np.array([0.5, 5.0, 5.0]) * 0.85**self.turn
        return self.space.nearest(parents + self.rng.normal(size=parents.shape) * spread)
