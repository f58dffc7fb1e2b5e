"""Augmentation of images and masks, every draw from one generator."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def augment(images: Tensor, masks: Tensor, generator: torch.Generator, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Flip, rotate, scale and shift images with their masks; change brightness and contrast of the images.

    Args:
        images: (B, C, H, W) in [0, 1].
        masks: (B, 1, H, W), 0 or 1.
        generator: where all draws come from.
        strength: 0 leaves everything alone; 1 turns by up to 20 degrees, scales by up to 20 %, shifts by up to 8 %, and changes
            brightness and contrast by up to 20 %.

    Returns:
        Images in [0, 1] and masks of 0 and 1, in the shapes of the input.
    """
    if strength == 0:
        return images, masks
    b = len(images)

    def draw(limit: float) -> Tensor:
        return (torch.rand(b, generator=generator) * 2 - 1) * limit * strength

    turn, scale = draw(math.radians(20)), 1 + draw(0.2)
    mirror = torch.where(torch.rand(b, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(b, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = turn.cos() * scale * mirror, -turn.sin() * scale
    matrix[:, 1, 0], matrix[:, 1, 1] = turn.sin() * scale * mirror, turn.cos() * scale
    matrix[:, 0, 2], matrix[:, 1, 2] = draw(0.16), draw(0.16)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False).to(images.device)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    masks = F.grid_sample(masks, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    contrast, brightness = (draw(0.2).view(b, 1, 1, 1).to(images.device) for _ in range(2))
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * (1 + contrast) + mean * (1 + brightness)).clamp(0, 1), masks


def recolour(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Give a share of the images colours, contrasts and saturated regions that the training sets lack.

    Args:
        images: (B, 3, H, W) in [0, 1].
        share: how many are changed: each channel of such an image gets a gain in [0.1, 1.6] and an offset in [-0.15, 0.25].
        rng: where the draws come from.

    Returns:
        Images in [0, 1].
    """
    if not share:
        return images
    b = len(images)
    chosen = rng.random((b, 1)) < share
    gain = np.where(chosen, rng.uniform(0.1, 1.6, (b, 3)), 1.0)
    offset = np.where(chosen, rng.uniform(-0.15, 0.25, (b, 3)), 0.0)
    gain_, offset_ = (torch.from_numpy(v).float().view(b, 3, 1, 1).to(images.device) for v in (gain, offset))
    return (images * gain_ + offset_).clamp(0, 1)
