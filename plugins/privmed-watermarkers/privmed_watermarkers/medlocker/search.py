"""What the searches of MedLocker have in common: they minimise a loss over opacity limit, column and row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from privmed_watermarkers.medlocker.space import Space

if TYPE_CHECKING:
    from privmed_watermarkers.medlocker import MedLockerConfig


class SpaceSearch(ABC):
    """Asks for candidates (n, 3) of a :class:`Space`, and is told their losses (n,).

    Args:
        space: what is searched.
        rng: source of all draws.
        settings: of the method.
    """

    def __init__(self, space: Space, rng: np.random.Generator, settings: MedLockerConfig) -> None:
        self.space, self.rng, self.settings = space, rng, settings

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether there is nothing more to ask."""

    @abstractmethod
    def ask(self) -> np.ndarray:
        """The candidates to try next; there may be none of them this time."""

    @abstractmethod
    def tell(self, candidates: np.ndarray, losses: np.ndarray) -> None:
        """Learn the losses of all that was asked for."""
