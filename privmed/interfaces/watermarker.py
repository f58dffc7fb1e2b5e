"""Watermarker: a visible mark that misleads strangers' models, and that the owner can lift bit-exactly."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.interfaces import door
from privmed.interfaces.base import Method

Oracle = Callable[[Tensor], Tensor]
"""Any callable from images (N, C, H, W) in [0, 1] to class probabilities (N, classes): the attack is black-box."""


class Embedded(NamedTuple):
    """What :meth:`Watermarker.embed` returns."""

    image: Tensor  # the marked image, (1, C, H, W)
    record: dict[str, Any]  # all that remove() needs; treat it as secret
    queries: int  # how often the oracle was asked


class Watermarker(Method):
    """Contract of adversarial visible watermarks."""

    kind: ClassVar[str] = "watermarker"

    @final
    def embed(
        self,
        image: Tensor,
        logo: Tensor,
        oracle: Oracle,
        label: int,
        *,
        forbidden: Tensor | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Embedded:
        """Place ``logo`` on ``image`` so that ``oracle`` no longer answers ``label``.

        Args:
            image: (1, 1 or 3, H, W) in [0, 1], sides at least 32.
            logo: (1, 4, h, w) RGBA in [0, 1].
            oracle: images -> probabilities, asked in batches.
            label: the true class of ``image``.
            forbidden: where the logo may not lie, (1, 1, H, W), 0 or 1.
            generator: source of randomness; a generator or a seed (default 0).

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or more than one image.
        """
        door.tensor("image", image, channels=(1, 3))
        clean = door.in_unit_range("image", door.finite("image", image))
        if clean.shape[0] != 1:
            raise InputError(f"image: expected one image, got a batch of {clean.shape[0]}.")
        if not isinstance(logo, Tensor) or logo.ndim != 4 or logo.shape[:2] != (1, 4):
            got = tuple(logo.shape) if isinstance(logo, Tensor) else type(logo).__name__
            raise InputError(f"logo: expected RGBA of shape (1, 4, h, w), got {got}.")
        logo = door.in_unit_range("logo", door.finite("logo", logo))
        blocked = None if forbidden is None else door.mask("forbidden", forbidden, like=clean)
        made = self._embed(clean, logo, oracle, int(label), blocked, door.generator_for(generator, self.device))
        return made._replace(image=self._check_output(made.image, clean.shape, "image").clamp(0, 1))

    @final
    def remove(self, image: Tensor, record: dict[str, Any]) -> Tensor:
        """Return the original of a marked image, bit for bit on its own grey levels."""
        door.tensor("image", image, channels=(1, 3))
        marked = door.in_unit_range("image", door.finite("image", image))
        return self._check_output(self._remove(marked, record), marked.shape, "image")

    @abstractmethod
    def _embed(
        self,
        image: Tensor,
        logo: Tensor,
        oracle: Oracle,
        label: int,
        forbidden: Tensor | None,
        generator: torch.Generator,
    ) -> Embedded:
        """Search and blend."""

    @abstractmethod
    def _remove(self, image: Tensor, record: dict[str, Any]) -> Tensor:
        """Invert the blending with the help of the record."""
