"""Protector: change images so little that doctors can read them, and so cleverly that models cannot learn from them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from privmed.errors import SettingsError
from privmed.interfaces import door
from privmed.interfaces.base import Method


class Protector(Method):
    """Contract of unlearnable data sets. The ``Config`` of a protector has a setting ``epsilon`` on the [0, 1] scale."""

    kind: ClassVar[str] = "protector"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        if not 0 < getattr(self.config, "epsilon", 0) <= 1:
            raise SettingsError(f"{self.name}: epsilon must lie in (0, 1], e.g. 4/255.")

    @final
    def fit(self, dataset: Iterable[tuple[Tensor, Tensor]]) -> Protector:
        """Fit to pairs ``(image, mask)``; methods that need no fitting accept the call. Returns the protector."""
        self._fit(dataset)
        return self

    @final
    def protect(self, image: Tensor, mask: Tensor, *, generator: torch.Generator | int | None = None) -> Tensor:
        """Return protected images.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            mask: the labels an exploiter would train on, (B, 1, H, W), 0 or 1.
            generator: source of randomness; a generator or a seed (default 0).

        Returns:
            The shape of ``image``, in [0, 1], at most ``epsilon`` from ``image`` in any pixel (enforced here).

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, a mask of another size, or values other than 0 and 1.
        """
        door.tensor("image", image, channels=(1, 3))
        clean = door.in_unit_range("image", door.finite("image", image)).to(self.device)
        labels = door.mask("mask", mask, like=clean).to(self.device)
        with self._at_work(image):
            protected = self._protect(clean, labels, door.generator_for(generator, self.device))
            protected = self._check_output(protected, clean.shape, "protected")
            epsilon = self.config.epsilon
            return torch.clamp(protected, clean - epsilon, clean + epsilon).clamp(0, 1).to(image.device)

    def _fit(self, dataset: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Learn from the data set; nothing to do by default."""

    @abstractmethod
    def _protect(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Return protected images in the shape of ``image``."""
