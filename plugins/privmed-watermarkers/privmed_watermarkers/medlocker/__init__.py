"""MedLocker: a logo whose place and opacity are searched so that diagnostic models err.

B. Pu et al., "MedLocker: A Transferable Adversarial Watermarking for Preventing Unauthorized Analysis of Medical Image Dataset",
arXiv 2303.09858. Its search is ``hopping``; ``random`` is its ablation, ``grid`` and ``cma`` are ours.

What differs from the paper: the walk's temperature is 0.05 for probabilities (with 1, nearly everything is accepted), crossover follows
Eq. 5 alone, and after a failed search the best individual is kept, not the last. Beyond the paper: restarts, and the loss ``margin``.

Idea: A logo is laid over the image, half transparent, where it makes a diagnostic model err. Place and opacity are searched by evolution
and random walks, asking the model for probabilities alone. The owner keeps what the blending loses, in a key, and gets every bit back.

Formula:
    marked = (1 - a) x + a logo,  a = opacity of the logo's pixel, limited by alpha
    find alpha and place so that the oracle's probability of the true class is least, until another class leads

Weak at: a thief who paints the logo over gets most of a model's accuracy back, and one with the logo gets the image nearly back. Marks that
may not touch the lesion mislead less often, and so do marks made against other models than the thief's; of chest X-rays fewer than half
mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen

from privmed import Watermarker, hookimpl
from privmed.errors import SettingsError
from privmed.imaging.logo import FittedLogo
from privmed.imaging.overlay import Overlay
from privmed.interfaces.search import Problem, Search
from privmed.settings import at_least, between, one_of, positive, setting
from privmed_watermarkers.medlocker.cma import CovarianceAdaptation
from privmed_watermarkers.medlocker.evolution import RandomMutation
from privmed_watermarkers.medlocker.grid import GridFirst
from privmed_watermarkers.medlocker.hopping import BasinHopping
from privmed_watermarkers.medlocker.search import SpaceSearch
from privmed_watermarkers.medlocker.space import Space

SEARCHES: dict[str, type[SpaceSearch]] = {
    "hopping": BasinHopping,
    "random": RandomMutation,
    "grid": GridFirst,
    "cma": CovarianceAdaptation,
}


def probability(probabilities: np.ndarray, label: int) -> np.ndarray:
    """Of the true class."""
    return probabilities[:, label].astype(np.float64)


def margin(probabilities: np.ndarray, label: int) -> np.ndarray:
    """The lead of the true class over the next."""
    return probability(probabilities, label) - np.delete(probabilities, label, 1).max(1)


LOSSES = {"probability": probability, "margin": margin}


@frozen(kw_only=True)
class MedLockerConfig(Watermarker.LogoConfig):
    """Settings of :class:`MedLocker`; the defaults are the paper's, but for the temperature: 0.05, the paper's is 1."""

    low: int = setting(100, "smallest opacity limit (alpha)", between(0, 255))
    high: int = setting(
        255,
        "largest opacity limit (alpha); searches that draw opacities stay below it, as they draw real numbers",
        between(0, 255),
    )
    search: str = setting(
        "hopping",
        "basin-hopping evolution, its ablation with random mutation, the strongest marks on a grid first, or covariance adaptation",
        one_of(*SEARCHES),
    )
    loss: str = setting("probability", "of the true class, or its lead over the next one", one_of(*LOSSES))
    population: int = setting(50, "individuals (N_p)", at_least(2))
    generations: int = setting(3, "generations (N_g)", at_least(0))
    hops: int = setting(3, "steps of each walk (N_iter)", at_least(0))
    crossover: float = setting(0.9, "chance that a child takes a gene from the mutant (CR)", between(0, 1))
    step: float = setting(10.0, "length of a step (s): 2 s in opacity, 5 s in place", positive())
    temperature: float = setting(0.05, "of the walk; 0.05 fits probabilities, 1 logits", positive())
    restarts: int = setting(0, "beyond the paper: start again so many times when the search has failed", at_least(0))


class LogoSearch(Search):
    """Shows the candidates of searches over (opacity limit, column, row) as marks, one search after the other.

    Args:
        logo: what is laid on the image.
        loss: of probabilities (n, classes).
        begin: begins a search.
        count: how many searches there are.
    """

    def __init__(
        self,
        logo: FittedLogo,
        loss: Callable[[np.ndarray], np.ndarray],
        begin: Callable[[], SpaceSearch],
        count: int,
    ) -> None:
        self.logo, self.loss, self.begin, self.left = logo, loss, begin, count - 1
        self.search = begin()

    def ask(self) -> Sequence[Overlay]:
        self.candidates = np.zeros((0, 3))
        while len(self.candidates) == 0:
            if self.search.done:
                if not self.left:
                    return []
                self.search, self.left = self.begin(), self.left - 1
            self.candidates = self.search.ask()
            if len(self.candidates) == 0:  # a walk may propose nothing that is allowed
                self.search.tell(self.candidates, np.zeros(0))
        return [self.logo.at(x, y, limit) for limit, x, y in self.candidates.astype(np.int64).tolist()]

    def tell(self, marks: Sequence[Overlay], probabilities: np.ndarray) -> None:
        self.search.tell(self.candidates, self.loss(probabilities))


class MedLocker(Watermarker):
    """Searches opacity and place of a logo, black-box."""

    name = "medlocker"
    Config = MedLockerConfig

    def __init__(self, config: MedLockerConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.low > c.high:
            raise SettingsError(f"medlocker: low ({c.low}) must not be above high ({c.high}).")
        if c.jitter and c.jitter >= c.low:  # some pixels would stay as they are
            raise SettingsError(f"medlocker: jitter ({c.jitter}) must be below low ({c.low}), the faintest mark.")

    def _search(self, problem: Problem, rng: np.random.Generator) -> Search:
        c = self.config
        logo = problem.fitted_logo(c.scale, c.jitter)
        space = Space(c.low, c.high, problem.positions(logo.shape))
        return LogoSearch(
            logo,
            loss=lambda probabilities: LOSSES[c.loss](probabilities, problem.label),
            begin=lambda: SEARCHES[c.search](space, rng, c),
            count=c.restarts + 1,
        )


@hookimpl
def privmed_register(register):
    register(MedLocker)
