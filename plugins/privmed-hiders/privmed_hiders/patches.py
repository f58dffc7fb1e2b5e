"""Run a convolutional network over large images patch by patch: the same values out of the processor's cache instead of its memory.

A network whose layers look at their neighbourhood alone gives a pixel the same value whatever lies further away than it sees. So a patch
is cut out with as much around it as the network reaches, and what was around it is dropped from the answer. At the border of the image a
patch ends where the image ends, and is padded as the image would be.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

SIDE = 128  # of a patch: the features of a dense block, some 140 channels in float32, are 10 MB
PLAIN_SIDE = 192  # with fewer channels and more around it


def patchwise(network: Callable[[Tensor], Tensor], x: Tensor, reach: int, side: int | None = None) -> Tensor:
    """What the network makes of (B, C, H, W): an answer of the same height and width.

    On the processor, without gradients, and where there are more pixels than in two patches; in all other cases the network is called once.

    Args:
        network: layers that keep the size, padded with zeros, and take no mean over their input.
        x: its input.
        reach: how many pixels away something can change a pixel of the answer.
        side: longest side of a patch without what is around it; ``SIDE`` by default.
    """
    side = SIDE if side is None else side
    count, _, height, width = x.shape
    if torch.is_grad_enabled() or x.device.type != "cpu" or count * height * width <= 2 * side**2:
        return network(x)
    together = max(1, side**2 // (height * width))
    out: Tensor | None = None
    for first in range(0, count, together):
        images = slice(first, first + together)
        for top, bottom in _cuts(height, side):
            for left, right in _cuts(width, side):
                above, before = max(top - reach, 0), max(left - reach, 0)
                part = x[images, :, above : bottom + reach, before : right + reach]
                made = network(part.contiguous(memory_format=torch.channels_last))
                if out is None:
                    shape = (count, made.shape[1], height, width)
                    out = torch.empty(shape, dtype=made.dtype, device=x.device, memory_format=torch.channels_last)
                inner = made[..., top - above : bottom - above, left - before : right - before]
                out[images, :, top:bottom, left:right] = inner
    return out


def _cuts(length: int, side: int) -> list[tuple[int, int]]:
    """Nearly equal parts of at most that length."""
    parts = -(-length // side)
    edges = [length * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))
