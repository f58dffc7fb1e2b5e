"""MedLocker: a logo whose place and opacity are searched so that diagnostic models err.

B. Pu et al., "MedLocker: A Transferable Adversarial Watermarking for Preventing Unauthorized Analysis of Medical Image Dataset",
arXiv 2303.09858. The search is the basin-hopping evolution of its ancestor (X. Jia et al., "Adv-watermark", ACM MM 2020), written as
the Metropolis walk that it amounts to: its local minimiser does nothing, because candidates are cut to integers.

What differs from the paper: the walk's temperature is 0.05 for probabilities (with 1, nearly everything is accepted), crossover follows
Eq. 5 alone, and after a failed search the best individual is kept, not the last. Beyond the paper: other searches, and restarts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import frozen

from privmed import Watermarker, hookimpl
from privmed.errors import SettingsError
from privmed.interfaces.placing import Job, Search
from privmed.settings import at_least, between, one_of, positive, setting
from privmed_watermarkers.space import Space

Loss = Callable[[np.ndarray], np.ndarray]


@frozen(kw_only=True)
class MedLockerConfig(Watermarker.Config):
    """Settings of :class:`MedLocker`; the defaults are the paper's, but for the temperature: 0.05, the paper's is 1."""

    low: int = setting(100, "smallest opacity limit (alpha)", between(0, 255))
    high: int = setting(255, "largest opacity limit (alpha)", between(0, 255))
    search: str = setting(
        "hopping",
        "basin-hopping evolution, its ablation with random mutation, the strongest marks on a grid first, or covariance adaptation",
        one_of("hopping", "random", "grid", "cma"),
    )
    loss: str = setting("probability", "of the true class, or its lead over the next", one_of("probability", "margin"))
    population: int = setting(50, "individuals (N_p)", at_least(2))
    generations: int = setting(3, "generations (N_g)", at_least(0))
    hops: int = setting(3, "steps of each walk (N_iter)", at_least(0))
    crossover: float = setting(0.9, "chance that a child takes a gene from the mutant (CR)", between(0, 1))
    step: float = setting(10.0, "length of a step (s): 2 s in opacity, 5 s in place", positive())
    temperature: float = setting(0.05, "of the walk; 0.05 fits probabilities, 1 logits", positive())
    restarts: int = setting(0, "beyond the paper: start again so many times when the search has failed", at_least(0))


class MedLocker(Watermarker):
    """Searches opacity and place of a logo, black-box."""

    name = "medlocker"
    Config = MedLockerConfig

    def __init__(self, config: MedLockerConfig | None = None) -> None:
        super().__init__(config)
        if self.config.low > self.config.high:
            raise SettingsError(f"medlocker: low ({self.config.low}) must not be above high ({self.config.high}).")
        if self.config.veil and self.config.veil >= self.config.low:  # some pixels would stay as they are
            raise SettingsError(
                f"medlocker: veil ({self.config.veil}) must be below low ({self.config.low}), the faintest mark."
            )

    def _search(self, job: Job, rng: np.random.Generator) -> Search:
        c = self.config
        space = Space(c.low, c.high, job.places)
        searches = {"hopping": self._evolve, "random": self._evolve, "grid": self._grid, "cma": self._adapt}
        for _ in range(c.restarts + 1):
            yield from searches[c.search](job, space, rng)

    def _score(self, probabilities: np.ndarray, label: int) -> np.ndarray:
        true = probabilities[:, label].astype(np.float64)
        return true if self.config.loss == "probability" else true - np.delete(probabilities, label, 1).max(1)

    def _evolve(self, job: Job, space: Space, rng: np.random.Generator) -> Search:
        """Mutation by a walk, crossover by gene, selection of the fitter (Eqs. 3 to 6)."""
        c = self.config
        x = space.sample(rng, c.population)
        f = self._score((yield x), job.label)
        for _ in range(c.generations):
            mutant = x.copy()
            if c.search == "hopping":
                yield from self._walk(job, space, rng, mutant, f.copy())
            else:
                mutant = space.sample(rng, c.population)
            child = np.where(rng.random(x.shape) <= c.crossover, mutant, x)
            allowed = space.holds(child)  # genes of two allowed places can make a forbidden one
            child = np.where(allowed[:, None], child, mutant)
            g = self._score((yield child), job.label)
            better = g <= f
            x, f = np.where(better[:, None], child, x), np.where(better, g, f)

    def _walk(self, job: Job, space: Space, rng: np.random.Generator, best: np.ndarray, lowest: np.ndarray) -> Search:
        """A Metropolis walk from every individual at once; ``best`` and ``lowest`` are improved in place."""
        c = self.config
        at, f = best.copy(), lowest.copy()
        reach = c.step * np.array([2.0, 5.0, 5.0])
        for _ in range(c.hops):
            proposal = at + rng.uniform(-reach, reach, at.shape)
            luck = rng.random(len(at))
            allowed = np.flatnonzero(space.holds(proposal))
            g = self._score((yield proposal[allowed]), job.label)
            downhill = g - f[allowed] <= -c.temperature * np.log(np.maximum(luck[allowed], 1e-300))
            moved = allowed[downhill]
            at[moved], f[moved] = proposal[moved], g[downhill]
            improved = moved[f[moved] < lowest[moved]]
            best[improved], lowest[improved] = at[improved], f[improved]

    def _grid(self, job: Job, space: Space, rng: np.random.Generator) -> Search:
        """Fully opaque marks on a shifted grid, then walks from the best of them: as many questions as the evolution."""
        c = self.config
        x = space.sample(rng, c.population)
        x[:, 0] = c.high
        rows, columns = space.places.shape
        many = int(np.ceil(np.sqrt(c.population)))
        v, u = np.meshgrid(np.arange(many), np.arange(many), indexing="ij")
        shift = rng.random(2)
        lattice = (np.stack([u.ravel(), v.ravel()], 1)[: c.population] + shift) / many
        x[:, 1:] = lattice * np.array([columns, rows])
        x = space.nearest(x)
        f = self._score((yield x), job.label)
        for turn in range(c.generations * (c.hops + 1)):
            order = f.argsort()[: max(2, c.population // 5)]
            parents = x[rng.choice(order, c.population)]
            reach = c.step * np.array([0.5, 5.0, 5.0]) * 0.85**turn
            child = space.nearest(parents + rng.normal(size=parents.shape) * reach)
            g = self._score((yield child), job.label)
            x, f = np.concatenate([x, child]), np.concatenate([f, g])

    def _adapt(self, job: Job, space: Space, rng: np.random.Generator) -> Search:
        """CMA-ES in the unit box, from the best of a sample (N. Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772)."""
        from cmaes import CMA

        c = self.config
        span = space.top - space.bottom
        x = space.sample(rng, c.population)
        f = self._score((yield x), job.label)
        start = (x[f.argmin()] - space.bottom) / span
        evolution = CMA(
            mean=start,
            sigma=0.2,
            bounds=np.array([[0.0, 1.0]] * 3),
            seed=int(rng.integers(2**31)),
            population_size=c.population,
        )
        for _ in range(c.generations * (c.hops + 1)):
            points = [evolution.ask() for _ in range(c.population)]
            candidates = space.nearest(space.bottom + np.array(points) * span)
            scores = self._score((yield candidates), job.label)
            evolution.tell([(point, float(s)) for point, s in zip(points, scores)])


@hookimpl
def privmed_register(register):
    register(MedLocker)
