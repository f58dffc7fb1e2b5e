"""An opaque logo in the middle of the target, or at a random place: what a search has to beat.

No paper's method: nothing is asked of any model. A logo that hides the lesion misleads models often enough by what it hides, so a search
earns its place by how much more often it does.

Idea: The control of every search. The logo is put over the middle of the target, or at a place drawn at random, as opaque as it is. What
a search gains over it is what its questions are worth.

Formula:
    marked = (1 - a) x + a logo,  a = opacity of the logo's pixel

Weak at: misleading models that look at more than what it covers; it hides the lesion from readers too. There is no
search to make up for either.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen

from privmed import Watermarker, hookimpl
from privmed.interfaces.search import Problem, Proposals
from privmed.settings import one_of, setting


@frozen(kw_only=True)
class PlainConfig(Watermarker.LogoConfig):
    """Settings of :class:`Plain`."""

    place: str = setting(
        "middle",
        "of the target, or of the image where there is none; or any place that is allowed, drawn by the seed",
        one_of("middle", "random"),
    )


class Plain(Watermarker):
    """One opaque logo, without a search: the control."""

    name = "plain"
    Config = PlainConfig
    needs_oracle = False

    def _search(self, problem: Problem, rng: np.random.Generator) -> Proposals:
        logo = problem.fitted_logo(self.config.scale, self.config.jitter)
        allowed = np.argwhere(problem.positions(logo.shape))
        if self.config.place == "random":
            row, column = allowed[rng.integers(len(allowed))]
        else:
            apart = allowed + np.array(logo.shape) / 2 - middle(problem)
            row, column = allowed[(apart**2).sum(1).argmin()]
        return Proposals([logo.at(int(column), int(row))])


def middle(problem: Problem) -> np.ndarray:
    """Row and column of the centre of mass of the target; of the image where there is none."""
    if problem.target is None:
        return np.array(problem.size) / 2
    return np.argwhere(problem.target).mean(0) + 0.5


@hookimpl
def privmed_register(register):
    register(Plain)
