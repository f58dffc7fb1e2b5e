"""What it costs to change a value: little in texture, much where the image is smooth.

HILL: B. Li et al., "A New Cost Function for Spatial Image Steganography", ICIP 2014: high-pass, average over 3 x 3, reciprocal, average
over 15 x 15. Only the sender computes it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

SMOOTH = 1 / 16  # grey levels; keeps the cost of a flat region finite
SATURATED = 1e3  # times the cost of a value that can go one way only


def costs(pixels: np.ndarray) -> np.ndarray:
    """The cost of changing each value of (H, W, C) by one, in the same shape, float32."""
    return np.stack([_hill(pixels[..., channel]) for channel in range(pixels.shape[2])], 2)


def _hill(plane: np.ndarray) -> np.ndarray:
    wide = np.pad(plane.astype(np.float32), 1, mode="reflect")
    detail = np.abs(np.diff(np.diff(wide, 2, axis=0), 2, axis=1))  # the kernel (1, -2, 1) along both axes
    cost = uniform_filter(1 / (uniform_filter(detail, 3, mode="mirror") + SMOOTH), 15, mode="mirror")
    return np.where((plane == 0) | (plane == 255), SATURATED * cost, cost).astype(np.float32)
