"""Variety of photographs and scans: clipping, colour, sharpness, resolution and JPEG that the training sets lack.

Hiders trained on a few clean sets lose 3 to 10 dB on pictures of another kind: clipped or saturated photographs, sharpened or
enlarged ones, strongly coloured scans. Each function changes one picture, (3, H, W) in [0, 1], by draws from ``rng``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.imaging.effects import gaussian_blur, jpeg_file

LUMA = (0.299, 0.587, 0.114)


def exposure(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Over- or underexpose, so that part of the picture lies at 0 or 1."""
    gain, at = rng.uniform(1.0, 2.5), rng.uniform(0.1, 0.9)
    return ((x - at) * gain + at + rng.uniform(-0.3, 0.3)).clamp(0, 1)


def gamma(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Darken or brighten by a power between 0.4 and 2.5."""
    return x.clamp_min(1e-4) ** float(np.exp(rng.uniform(-0.92, 0.92)))


def saturation(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Take colour away (0) or exaggerate it (up to 3)."""
    grey = (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    return (grey + (x - grey) * float(rng.uniform(0, 3))).clamp(0, 1)


def channels(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Exchange the channels and give each a gain and an offset: stains, lamps, false colours."""
    gain, offset = (
        torch.from_numpy(rng.uniform(low, high, (3, 1, 1))).to(x) for low, high in ((0.1, 1.6), (-0.15, 0.3))
    )
    return (x[torch.from_numpy(rng.permutation(3))] * gain + offset).clamp(0, 1)


def inversion(x: Tensor, rng: np.random.Generator) -> Tensor:  # noqa: ARG001
    """Turn the picture into its negative."""
    return 1 - x


def softness(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur by a Gaussian of 0.4 to 1.6 pixels."""
    return gaussian_blur(x[None], sigma=float(rng.uniform(0.4, 1.6)), side=7)[0].clamp(0, 1)


def sharpness(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Sharpen by an unsharp mask of strength 0.3 to 2.5."""
    soft = gaussian_blur(x[None], sigma=float(rng.uniform(0.6, 1.5)), side=7)[0]
    return (x + (x - soft) * float(rng.uniform(0.3, 2.5))).clamp(0, 1)


def resolution(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Scale down to 0.35 to 0.9 and up again, smoothly or in blocks."""
    size = x.shape[-2:]
    small = [max(8, round(n * rng.uniform(0.35, 0.9))) for n in size]
    low = F.interpolate(x[None], small, mode="bicubic", antialias=True)
    mode = "nearest" if rng.random() < 0.25 else "bicubic"
    return F.interpolate(low, size, mode=mode)[0].clamp(0, 1)


def compression(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Write as JPEG of quality 30 to 95 and read again."""
    return jpeg_file(x[None], int(rng.integers(30, 96)))[0].to(x)


def grain(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Add sensor noise of 1 to 8 grey levels."""
    noise = rng.normal(0, rng.uniform(1, 8) / 255, x.shape)
    return (x + torch.from_numpy(noise).to(x)).clamp(0, 1)


CHANGES: tuple[Callable[[Tensor, np.random.Generator], Tensor], ...] = (
    exposure,
    gamma,
    saturation,
    channels,
    inversion,
    softness,
    sharpness,
    resolution,
    compression,
    grain,
)


def vary(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Change a share of the images, each in one to three of the ways above, and round to 8 bits as a file would.

    Args:
        images: (B, 3, H, W) in [0, 1].
        share: how many are changed, 0 to 1.
        rng: where the draws come from.

    Returns:
        Images in [0, 1], in the memory order of the input.
    """
    if not share:
        return images
    out = []
    for x in images:
        if rng.random() < share:
            for i in rng.choice(len(CHANGES), size=int(rng.integers(1, 4)), replace=False):
                x = CHANGES[i](x, rng)
            x = (x * 255).round() / 255
        out.append(x)
    return torch.stack(out).contiguous(memory_format=torch.channels_last)
