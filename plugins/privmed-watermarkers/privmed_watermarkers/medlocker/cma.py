"""Ours, not the paper's: covariance adaptation (N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772)."""

from __future__ import annotations

import numpy as np

from privmed_watermarkers.medlocker.search import SpaceSearch


class CovarianceAdaptation(SpaceSearch):
    """CMA-ES in the unit box, from the best of a sample."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.x = self.space.sample(self.rng, self.settings.population)
        self.turn = -1

    @property
    def done(self) -> bool:
        return self.turn == self.settings.generations * (self.settings.hops + 1)

    def ask(self) -> np.ndarray:
        if self.turn < 0:
            return self.x
        self.points = [self.strategy.ask() for _ in range(self.settings.population)]
        return self.space.nearest(self.space.bottom + np.array(self.points) * self._span)

    def tell(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        if self.turn < 0:
            self.strategy = self._begin(candidates[losses.argmin()])
        else:
            self.strategy.tell([(point, float(loss)) for point, loss in zip(self.points, losses)])
        self.turn += 1

    @property
    def _span(self) -> np.ndarray:
        return self.space.top - self.space.bottom

    def _begin(self, best: np.ndarray):
        from cmaes import CMA

        return CMA(
            mean=(best - self.space.bottom) / self._span,
            sigma=0.2,
            bounds=np.array([[0.0, 1.0]] * 3),
            seed=int(self.rng.integers(2**31)),
            population_size=self.settings.population,
        )
