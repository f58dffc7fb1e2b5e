"""Logos that comparisons of watermarks know by name."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.imaging.logo import draw_logo


def ring() -> Tensor:
    """A white ring, (1, 4, 224, 224)."""
    v, u = torch.meshgrid(*[torch.linspace(-1, 1, 224)] * 2, indexing="ij")
    radius = (u * u + v * v).sqrt()
    return torch.cat([torch.ones(3, 224, 224), ((radius > 0.7) & (radius < 0.95)).float()[None]])[None]


SHAPES = {"shield": draw_logo, "white square": lambda: torch.ones(1, 4, 224, 224), "ring": ring}
