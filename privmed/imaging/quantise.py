"""The 8-bit wire as a differentiable operation, for training with the rounding in the loop."""

from __future__ import annotations

from torch import Tensor


def quantise(x: Tensor, levels: int = 255) -> Tensor:
    """Clamp to [0, 1] and round to ``levels`` steps; the gradient passes straight through.

    Args:
        x: any shape, any range.
        levels: largest stored value, 255 for 8 bits.

    Returns:
        ``round(clamp(x, 0, 1) * levels) / levels``, with the gradient of the identity.
    """
    wire = (x.detach().clamp(0, 1) * levels).round() / levels
    return x + (wire - x.detach()) if x.requires_grad else wire
