"""The evolution of MedLocker (Eqs. 3 to 6), with mutants drawn at random: the ablation of its Table 3."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from privmed_watermarkers.medlocker.search import SpaceSearch


class Drawn(NamedTuple):
    """Mutants that are there at once."""

    best: np.ndarray
    done: bool = True


class RandomMutation(SpaceSearch):
    """Mutants drawn anew, crossover by gene, selection of the fitter."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.x = self.space.sample(self.rng, self.settings.population)
        self.f: np.ndarray | None = None  # losses of x
        self.generation = 0

    @property
    def done(self) -> bool:
        return self.f is not None and self.generation == self.settings.generations

    def ask(self) -> np.ndarray:
        if self.f is None:
            return self.x
        return self._crossed(self.mutation.best) if self.mutation.done else self.mutation.ask()

    def tell(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        if self.f is None:
            self.f = losses
        elif not self.mutation.done:
            return self.mutation.tell(candidates, losses)
        else:
            self._select(candidates, losses)
        if not self.done:
            self.mutation = self._mutation()

    def _mutation(self) -> Drawn:
        return Drawn(self.space.sample(self.rng, self.settings.population))

    def _crossed(self, mutant: np.ndarray) -> np.ndarray:
        child = np.where(self.rng.random(self.x.shape) <= self.settings.crossover, mutant, self.x)
        allowed = self.space.holds(child)  # genes of two allowed positions can make a forbidden one
        return np.where(allowed[:, None], child, mutant)

    def _select(self, child: np.ndarray, g: np.ndarray) -> None:
        better = g <= self.f
        self.x, self.f = np.where(better[:, None], child, self.x), np.where(better, g, self.f)
        self.generation += 1
