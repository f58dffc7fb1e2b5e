"""What it costs to change a value: little in texture, much where the image is smooth.

HILL: B. Li et al., "A New Cost Function for Spatial Image Steganography", ICIP 2014: high-pass, average over 3 x 3, reciprocal, average
over 15 x 15. Only the sender computes it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

HIGH_PASS = ((-1.0, 2.0, -1.0), (2.0, -4.0, 2.0), (-1.0, 2.0, -1.0))
SMOOTH = 1 / 16  # keeps the cost of a flat region finite, in grey levels
SATURATED = 1e3  # times the cost of a value that can go one way only


def costs(pixels: np.ndarray) -> np.ndarray:
    """The cost of changing each value of (H, W, C) by one, in the same shape, float32."""
    return np.stack([_hill(pixels[..., channel]) for channel in range(pixels.shape[2])], 2)


def _hill(plane: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(plane.astype(np.float32))[None, None]
    kernel = torch.tensor(HIGH_PASS)[None, None]
    detail = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel).abs()
    cost = _average(1 / (_average(detail, 3) + SMOOTH), 15)[0, 0].numpy()
    return np.where((plane == 0) | (plane == 255), SATURATED * cost, cost)


def _average(x: Tensor, side: int) -> Tensor:
    """The mean over a window, in two passes."""
    reach = side // 2
    x = F.avg_pool2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), (side, 1), 1)
    return F.avg_pool2d(F.pad(x, (reach, reach, 0, 0), mode="reflect"), (1, side), 1)
