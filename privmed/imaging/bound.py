"""Rounding that keeps a promise: what is written stays within a bound of its source."""

from __future__ import annotations

import torch
from torch import Tensor

SLACK = 1e-3  # of a level: float32 cannot hold 4/255 exactly


def snap(changed: Tensor, clean: Tensor, bound: float, levels: int) -> Tensor:
    """Round ``changed`` to integer levels, never farther than ``bound`` from ``clean``.

    A value that rounds to the level of its source is given back as its source, bit for bit.

    Args:
        changed: any shape.
        clean: the same shape, in [0, 1].
        bound: largest change, on the [0, 1] scale.
        levels: the largest integer value, 255 for 8 bits.

    Returns:
        Multiples of ``1 / levels`` in [0, 1], or the clean value itself.
    """
    low = torch.ceil((clean - bound) * levels - SLACK).clamp_min(0)
    high = torch.floor((clean + bound) * levels + SLACK).clamp_max(levels)
    level = (changed * levels).round()
    level = torch.minimum(torch.maximum(level, low), high)
    same = (level == (clean * levels).round()) | (low > high)
    return torch.where(same, clean, level / levels)
