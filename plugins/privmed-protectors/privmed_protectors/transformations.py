"""What an exploiter may do to published images before training, as differentiable random steps.

A. Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018: optimise the expectation over transformations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.imaging.effects import gaussian_blur, jpeg


def random_transformation(image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of nothing, blur, JPEG of quality 30 to 90, or a change of brightness; then a random flip or quarter turn.

    Args:
        image: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W); turned with the image.
        generator: where the draws come from.

    Returns:
        Image and mask.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    kind = int(torch.randint(0, 4, (), generator=generator))
    if kind == 1:
        image = gaussian_blur(image, sigma=draw(0.5, 1.2))
    elif kind == 2:
        image = jpeg(image, quality=draw(30, 90))
    elif kind == 3:
        image = (image * draw(0.8, 1.2) + draw(-0.1, 0.1)).clamp(0, 1)
    turns, flip = int(torch.randint(0, 4, (), generator=generator)), draw(0, 1) < 0.5
    both = torch.cat([image, mask], 1).rot90(turns if image.shape[-1] == image.shape[-2] else 2 * (turns // 2), (2, 3))
    both = both.flip(3) if flip else both
    return both[:, : image.shape[1]], both[:, image.shape[1] :]
