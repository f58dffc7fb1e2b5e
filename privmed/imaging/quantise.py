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

    Example:
        >>> import torch
        >>> from privmed.imaging import quantise
        >>> x = torch.tensor([-0.2, 0.5004, 1.7], requires_grad=True)
        >>> wire = quantise(x)
        >>> wire.detach() * 255
        tensor([  0., 128., 255.])
        >>> wire.sum().backward()
        >>> x.grad
        tensor([1., 1., 1.])
    """
    wire = (x.detach().clamp(0, 1) * levels).round() / levels
    return x + (wire - x.detach()) if x.requires_grad else wire
