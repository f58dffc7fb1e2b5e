"""Small images for checks: structured, deterministic, neither flat nor pure noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_images(
    batch: int = 2, *, size: tuple[int, int] = (48, 64), channels: int = 3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return a secret and a cover, each (batch, channels, H, W) float32 in [0, 1], soft blobs with a little grain.

    Args:
        batch: how many of each.
        size: height and width.
        channels: 1 or 3.
        seed: what they are drawn from.

    Example:
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(batch=1, size=(32, 32))
        >>> secret.shape, cover.dtype
        (torch.Size([1, 3, 32, 32]), torch.float32)
    """
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        coarse = torch.rand(batch, channels, 6, 6, generator=generator)
        soft = F.interpolate(coarse, size, mode="bicubic", align_corners=False).clamp(0, 1)
        return (0.95 * soft + 0.05 * torch.rand(soft.shape, generator=generator)).clamp(0, 1)

    return draw(), draw()
