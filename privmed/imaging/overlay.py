"""A rectangle laid over a picture with an opacity for each pixel, and its exact removal.

All arithmetic is on integers, so that what is lifted years later on another machine is what was there. Blending loses information
(with opacity 255 all of it); what it loses is the *residual* between the original and the best guess from the blended picture, which the
owner keeps.

Reference:
    B. Pu et al., "MedLocker", arXiv 2303.09858, Eq. 1 (blending) and Eq. 9 (removal, which by itself is not exact).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from attrs import field, frozen

OPAQUE = 255
SMALL = 65535  # the largest maximum value whose products with an opacity fit into 32 bits


@frozen(eq=False)
class Overlay:
    """What lies where: whatever a visible mark is made of, as one rectangle.

    Attributes:
        x: column of its left edge.
        y: row of its upper edge.
        opacity: (h, w) uint8; 0 leaves a pixel as it is, 255 replaces it.
        colour: (h, w, 3) uint8.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay
        >>> mark = Overlay(x=4, y=8, opacity=np.full((6, 10), 200, np.uint8), colour=np.full((6, 10, 3), 255, np.uint8))
        >>> mark.window  # rows, columns
        (slice(8, 14, None), slice(4, 14, None))
    """

    x: int = field(converter=int)
    y: int = field(converter=int)
    opacity: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns it covers."""
        height, width = self.opacity.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def layer_of(colour: np.ndarray, grey: bool, max_value: int) -> np.ndarray:
    """Colours (h, w, 3) uint8 in the shape and units of the values under them.

    Args:
        colour: (h, w, 3) uint8.
        grey: whether the picture is grey.
        max_value: its value of white.

    Returns:
        (h, w) for a grey picture, else (h, w, 3), in [0, max_value]; int32, or int64 beyond 16 bits.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import layer_of
        >>> layer_of(np.full((1, 1, 3), 255, np.uint8), grey=True, max_value=4095)
        array([[4095]], dtype=int32)
    """
    kind = np.int32 if max_value <= SMALL else np.int64
    return (2 * (luma(colour) if grey else colour).astype(kind) * max_value + OPAQUE) // (2 * OPAQUE)


def luma(colour: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma of (h, w, 3) integers, in whole thousandths, (h, w).

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import luma
        >>> luma(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))
        array([[ 76, 150,  29]], dtype=int32)
    """
    colour = colour.astype(np.int32)
    return (299 * colour[..., 0] + 587 * colour[..., 1] + 114 * colour[..., 2] + 500) // 1000


def in_grey(colour: np.ndarray) -> np.ndarray:
    """The same (h, w, 3) colours in grey, as they would lie on a grey picture.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import in_grey
        >>> in_grey(np.array([[[255, 0, 0]]], np.uint8))
        array([[[76, 76, 76]]], dtype=uint8)
    """
    return np.repeat(luma(colour)[..., None], 3, 2).astype(colour.dtype)


def blend(values: np.ndarray, overlay: Overlay, max_value: int) -> np.ndarray:
    """Lay an overlay on a picture.

    Args:
        values: (H, W) or (H, W, 3) integers in [0, max_value].
        overlay: what to lay on it; it must lie inside.
        max_value: the value of white.

    Returns:
        A new array of the same shape and type; equal to ``values`` where the opacity is 0.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, blend
        >>> picture = np.full((4, 4), 100, np.uint16)
        >>> mark = Overlay(0, 0, np.full((1, 2), 128, np.uint8), np.full((1, 2, 3), 255, np.uint8))
        >>> blend(picture, mark, max_value=4095)[0]
        array([2105, 2105,  100,  100], dtype=uint16)
    """
    out = values.copy()
    blend_into(out, overlay, max_value)
    return out


def blend_into(values: np.ndarray, overlay: Overlay, max_value: int, layer: np.ndarray | None = None) -> None:
    """:func:`blend` in place: what an oracle is shown and what is written to a file both come from here.

    Args:
        values: see :func:`blend`.
        overlay: see :func:`blend`.
        max_value: see :func:`blend`.
        layer: :func:`layer_of` its colour, if that is known.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, blend_into
        >>> picture = np.zeros((2, 3), np.uint8)
        >>> blend_into(picture, Overlay(1, 0, np.full((1, 2), 255, np.uint8), np.full((1, 2, 3), 255, np.uint8)), 255)
        >>> picture
        array([[  0, 255, 255],
               [  0,   0,   0]], dtype=uint8)
    """
    grey = values.ndim == 2
    layer = layer_of(overlay.colour, grey, max_value) if layer is None else layer
    alpha = overlay.opacity if grey else overlay.opacity[..., None]
    under, alpha = values[overlay.window].astype(layer.dtype), alpha.astype(layer.dtype)
    mixed = under * (OPAQUE - alpha) + alpha * layer
    values[overlay.window] = (2 * mixed + OPAQUE) // (2 * OPAQUE)  # halves go up


def previews(view: np.ndarray, overlays: Sequence[Overlay]) -> np.ndarray:
    """An 8-bit picture (H, W) or (H, W, 3) with each of several overlays, (n, C, H, W) uint8.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, previews
        >>> opacity, white = np.full((4, 4), 200, np.uint8), np.full((4, 4, 3), 255, np.uint8)
        >>> previews(np.zeros((32, 48), np.uint8), [Overlay(x, 0, opacity, white) for x in range(5)]).shape
        (5, 1, 32, 48)
    """
    grey, layers = view.ndim == 2, {}
    out = np.repeat((view[None] if grey else np.moveaxis(view, 2, 0))[None], len(overlays), 0)
    for picture, overlay in zip(out, overlays):
        if id(overlay.colour) not in layers:  # the marks of a search often share their colours
            layers[id(overlay.colour)] = layer_of(overlay.colour, grey, OPAQUE)
        blend_into(picture[0] if grey else np.moveaxis(picture, 0, 2), overlay, OPAQUE, layers[id(overlay.colour)])
    return out


def digests(overlays: Sequence[Overlay]) -> list[bytes]:
    """One for each overlay, equal for those that are equal.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, digests
        >>> opacity, white = np.full((4, 4), 200, np.uint8), np.full((4, 4, 3), 255, np.uint8)
        >>> first, second, third = digests([Overlay(x, 0, opacity, white) for x in (0, 0, 1)])
        >>> first == second, first == third
        (True, False)
    """
    colours: dict[int, bytes] = {}
    found = []
    for o in overlays:
        if id(o.colour) not in colours:
            colours[id(o.colour)] = hashlib.sha256(np.ascontiguousarray(o.colour)).digest()
        known = hashlib.sha256(f"{o.x} {o.y} {o.opacity.shape}".encode() + colours[id(o.colour)])
        known.update(np.ascontiguousarray(o.opacity))
        found.append(known.digest())
    return found


def joined(overlays: Sequence[Overlay]) -> Overlay:
    """Several overlays as one; where two lie on each other, the later one covers the earlier one.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, joined
        >>> opacity, white = np.full((4, 4), 200, np.uint8), np.full((4, 4, 3), 255, np.uint8)
        >>> both = joined([Overlay(2, 0, opacity, white), Overlay(10, 6, opacity, white)])
        >>> both.x, both.y, both.opacity.shape
        (2, 0, (10, 12))
    """
    left, upper = min(o.x for o in overlays), min(o.y for o in overlays)
    right = max(o.x + o.opacity.shape[1] for o in overlays)
    lower = max(o.y + o.opacity.shape[0] for o in overlays)
    opacity = np.zeros((lower - upper, right - left), np.uint8)
    colour = np.zeros((*opacity.shape, 3), np.uint8)
    for o in overlays:
        window = tuple(slice(s.start - at, s.stop - at) for s, at in zip(o.window, (upper, left)))
        seen = o.opacity > 0
        opacity[window][seen], colour[window][seen] = o.opacity[seen], o.colour[seen]
    return Overlay(left, upper, opacity, colour)


def guess(values: np.ndarray, overlay: Overlay, max_value: int) -> np.ndarray:
    """The best guess of what lies under an overlay, without the residual: (h, w) or (h, w, 3) int64 in [0, max_value].

    Off by half a grey level times 255 / (255 - opacity), and 0 where the overlay is opaque.

    Args:
        values: the marked picture, (H, W) or (H, W, 3) integers in [0, max_value].
        overlay: what lies on it.
        max_value: the value of white.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay, blend, guess
        >>> picture = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
        >>> mark = Overlay(0, 0, np.full((1, 4), 240, np.uint8), np.full((1, 4, 3), 255, np.uint8))
        >>> guess(blend(picture, mark, 255), mark, 255) - picture[:1].astype(int)  # what the owner's residual makes good
        array([[ 0,  7, -3,  4]])
    """
    over = values[overlay.window].astype(np.int64)
    alpha = overlay.opacity.astype(np.int64) if values.ndim == 2 else overlay.opacity.astype(np.int64)[..., None]
    left, layer = OPAQUE - alpha, layer_of(overlay.colour, values.ndim == 2, max_value)
    solid = left == 0
    found = (2 * (OPAQUE * over - alpha * layer) + left) // np.where(solid, 1, 2 * left)
    return np.where(solid, 0, np.clip(found, 0, max_value))


def admissible(size: tuple[int, int], mark: tuple[int, int], keep_off: np.ndarray | None = None) -> np.ndarray:
    """Which places a mark can take.

    Args:
        size: height and width of the picture.
        mark: height and width of the mark.
        keep_off: (H, W) bool; the mark may not touch a pixel that is True.

    Returns:
        (H - h + 1, W - w + 1) bool, by row and column of its upper left corner; empty when the mark is larger than the picture.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import admissible
        >>> lesion = np.zeros((4, 5), bool)
        >>> lesion[1, 4] = True
        >>> admissible((4, 5), (2, 3), keep_off=lesion)
        array([[ True,  True, False],
               [ True,  True, False],
               [ True,  True,  True]])
    """
    return touches(size, mark, np.zeros(size, bool) if keep_off is None else keep_off) == 0


def touches(size: tuple[int, int], mark: tuple[int, int], region: np.ndarray) -> np.ndarray:
    """How many pixels of a region a mark would cover at each place, (H - h + 1, W - w + 1) int64.

    Args:
        size: height and width of the picture.
        mark: height and width of the mark.
        region: (H, W) bool.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import touches
        >>> lesion = np.zeros((4, 5), bool)
        >>> lesion[1, 3:] = True
        >>> touches((4, 5), (2, 3), lesion)
        array([[0, 1, 2],
               [0, 1, 2],
               [0, 0, 0]])
    """
    height, width = (max(0, n - m + 1) for n, m in zip(size, mark))
    total = np.zeros((size[0] + 1, size[1] + 1), np.int64)
    total[1:, 1:] = region.astype(np.int64).cumsum(0).cumsum(1)
    h, w = mark
    return (total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w])[:height, :width]
