"""A rectangle laid over a picture with an opacity for each pixel, and its exact removal.

All arithmetic is on integers, so that what is lifted years later on another machine is what was there. Blending loses information
(with opacity 255 all of it); what it loses is the *residual* between the original and the best guess from the blended picture, which the
owner keeps.

Reference:
    B. Pu et al., "MedLocker", arXiv 2303.09858, Eq. 1 (blending) and Eq. 9 (removal, which by itself is not exact).
"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

OPAQUE = 255


@frozen(eq=False)
class Overlay:
    """What lies where.

    Attributes:
        x: column of its left edge.
        y: row of its upper edge.
        opacity: (h, w) uint8; 0 leaves a pixel as it is, 255 replaces it.
        colour: (h, w, 3) uint8.
    """

    x: int
    y: int
    opacity: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns it covers."""
        height, width = self.opacity.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    def layers(self, values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Opacity and colour in the shape and units of the values under it, int64."""
        alpha, colour = self.opacity.astype(np.int64), self.colour.astype(np.int64)
        if values.ndim == 2:
            colour = luma(colour)
        else:
            alpha = alpha[..., None]
        return alpha, (2 * colour * top + OPAQUE) // (2 * OPAQUE)


def luma(colour: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma of (h, w, 3) integers, in whole thousandths, (h, w)."""
    colour = colour.astype(np.int64)
    return (299 * colour[..., 0] + 587 * colour[..., 1] + 114 * colour[..., 2] + 500) // 1000


def in_grey(colour: np.ndarray) -> np.ndarray:
    """The same (h, w, 3) colours in grey, as they would lie on a grey picture."""
    return np.repeat(luma(colour)[..., None], 3, 2).astype(colour.dtype)


def blend(values: np.ndarray, overlay: Overlay, top: int) -> np.ndarray:
    """Lay an overlay on a picture.

    Args:
        values: (H, W) or (H, W, 3) integers in [0, top].
        overlay: what to lay on it; it must lie inside.
        top: the value of white.

    Returns:
        A new array of the same shape and type; equal to ``values`` where the opacity is 0.
    """
    out = values.copy()
    under = values[overlay.window].astype(np.int64)
    alpha, colour = overlay.layers(under, top)
    mixed = (2 * ((OPAQUE - alpha) * under + alpha * colour) + OPAQUE) // (2 * OPAQUE)  # halves go up
    out[overlay.window] = mixed.astype(values.dtype)
    return out


def guess(values: np.ndarray, overlay: Overlay, top: int) -> np.ndarray:
    """The best guess of what lies under an overlay, without the residual: (h, w) or (h, w, 3) int64 in [0, top].

    Off by half a level times 255 / (255 - opacity), and 0 where the overlay is opaque.
    """
    over = values[overlay.window].astype(np.int64)
    alpha, colour = overlay.layers(over, top)
    left = OPAQUE - alpha
    solid = left == 0
    found = (2 * (OPAQUE * over - alpha * colour) + left) // np.where(solid, 1, 2 * left)
    return np.where(solid, 0, np.clip(found, 0, top))


def admissible(size: tuple[int, int], mark: tuple[int, int], keep_off: np.ndarray | None = None) -> np.ndarray:
    """Which places a mark can take.

    Args:
        size: height and width of the picture.
        mark: height and width of the mark.
        keep_off: (H, W) bool; the mark may not touch a pixel that is True.

    Returns:
        (H - h + 1, W - w + 1) bool, by row and column of its upper left corner; empty when the mark is larger than the picture.
    """
    return touches(size, mark, np.zeros(size, bool) if keep_off is None else keep_off) == 0


def touches(size: tuple[int, int], mark: tuple[int, int], region: np.ndarray) -> np.ndarray:
    """How many pixels of a region a mark would cover at each place, (H - h + 1, W - w + 1) int64."""
    height, width = (max(0, n - m + 1) for n, m in zip(size, mark))
    total = np.zeros((size[0] + 1, size[1] + 1), np.int64)
    total[1:, 1:] = region.astype(np.int64).cumsum(0).cumsum(1)
    h, w = mark
    return (total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w])[:height, :width]
