"""Local binary patterns, and the texture map that tells how much noise a place can bear.

T. Ojala, M. Pietikäinen, T. Mäenpää, "Multiresolution gray-scale and rotation invariant texture classification with local binary
patterns", TPAMI 2002.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import SettingsError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, full range
AROUND = (
    (0, 1),
    (-1, 1),
    (-1, 0),
    (-1, -1),
    (0, -1),
    (1, -1),
    (1, 0),
    (1, 1),
)  # E, NE, N, NW, W, SW, S, SE: bits 0 to 7
LEVEL = 1 / 255
KINDS = ("code", "count", "transitions", "smooth", "full")
SMOOTH, RAISED = 7, 1.4  # side of the average of a smooth map, and what it is raised by


def grey(image: Tensor) -> Tensor:
    """Luma of (B, 1 or 3, H, W), as (B, 1, H, W)."""
    if image.shape[1] == 1:
        return image
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def local_binary_pattern(image: Tensor) -> Tensor:
    """Code of the eight points on the unit circle around each pixel; bit p is set where point p is at least as bright.

    Points between pixels are interpolated bilinearly and everything outside the image is 0, as in scikit-image's
    ``local_binary_pattern(image, 8, 1)``, which this equals in every pixel.

    Args:
        image: grey, (B, 1, H, W).

    Returns:
        (B, 1, H, W) int64, 0 to 255; bit 0 is east, and they go on counter-clockwise.
    """
    x = image.double()
    code = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
    for p in range(8):
        angle = 2 * np.pi * p / 8
        point = _shifted(x, round(-np.sin(angle), 5), round(np.cos(angle), 5))
        code += (point >= x).long() << p
    return code


def texture_map(image: Tensor, kind: str = "code") -> Tensor:
    """How textured each place is, from the 3 x 3 neighbourhood: 0 where it is flat, up to 1.

    A bit is set only where a neighbour is at least one grey level of 8 bits brighter. The textbook comparison (at least as
    bright) would give perfectly flat areas the largest value, the opposite of what a bound on noise is after.

    Args:
        image: (B, 1 or 3, H, W) in [0, 1].
        kind: ``"code"``, the code over 255 (UMed does not say how x_t is scaled); ``"count"``, the share of set bits; ``"transitions"``,
            the share of changes around the circle; these two do not depend on the orientation. ``"smooth"``, the count averaged and
            raised: from pixel to pixel a map jumps, and so does what it bounds, which is what JPEG and blur take first. ``"full"``, 1
            everywhere.

    Returns:
        (B, 1, H, W) in [0, 1].

    Raises:
        SettingsError: for another kind.
    """
    if kind not in KINDS:
        raise SettingsError(f"texture must be one of {', '.join(KINDS)}, got {kind!r}.")
    if kind == "full":
        return torch.ones_like(image[:, :1])
    if kind == "smooth":
        around = F.pad(texture_map(image, "count"), (SMOOTH // 2,) * 4, mode="reflect")
        return (RAISED * F.avg_pool2d(around, SMOOTH, 1)).clamp(max=1)
    x = grey(image)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    height, width = x.shape[-2:]
    bits = torch.cat(
        [padded[..., 1 + r : 1 + r + height, 1 + c : 1 + c + width] - x > LEVEL / 2 for r, c in AROUND], dim=1
    ).float()
    if kind == "count":
        return bits.mean(1, keepdim=True)
    if kind == "transitions":
        return (bits - bits.roll(1, dims=1)).abs().mean(1, keepdim=True)
    weights = 2.0 ** torch.arange(8, device=x.device).view(1, 8, 1, 1)
    return (bits * weights).sum(1, keepdim=True) / 255


def _shifted(x: Tensor, down: float, right: float) -> Tensor:
    """``x`` at (row + down, column + right), bilinear, 0 outside; each sum in the order scikit-image takes it."""
    rows, columns = (
        torch.arange(n, dtype=torch.float64, device=x.device) + d for n, d in zip(x.shape[-2:], (down, right))
    )
    top, left = rows.floor(), columns.floor()
    dr, dc = (rows - top).view(-1, 1), columns - left
    padded = F.pad(x, (2, 2, 2, 2))

    def pick(r: Tensor, c: Tensor) -> Tensor:
        return padded[..., (r + 2).long().view(-1, 1), (c + 2).long()]

    bottom, beyond = rows.ceil(), columns.ceil()
    upper = (1 - dc) * pick(top, left) + dc * pick(top, beyond)
    lower = (1 - dc) * pick(bottom, left) + dc * pick(bottom, beyond)
    return (1 - dr) * upper + dr * lower
