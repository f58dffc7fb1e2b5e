"""A picture as something to draw on: what is seen of it as integers, whatever its depth and window."""

from __future__ import annotations

import numpy as np
from attrs import evolve

from privmed.errors import LossError
from privmed.imaging.overlay import Overlay, blend
from privmed.imaging.picture import Picture

FINE = 65535


class Canvas:
    """Draws overlays on a picture.

    A plain picture is drawn on in its own integers. One with a window, a lookup table or an inversion is drawn on as it is seen, and
    gets the stored values that come nearest to that, so that the mark is as visible in a CT slice as in a photograph.

    Args:
        picture: any but those made of palette indices.

    Raises:
        LossError: for palette indices.
    """

    def __init__(self, picture: Picture) -> None:
        if picture.chain.makes_colour:
            raise LossError(
                f"{picture.source}: its pixels are palette indices, on which nothing can be drawn. Convert it to RGB first."
            )
        self.picture = picture
        self.max_value = max_value_of(picture)

    def draw(self, overlay: Overlay) -> Picture:
        """The picture with an overlay on it; stored values change only where the overlay is not transparent."""
        stored = self.picture.pixels
        if self.max_value is not None:
            pixels = blend(stored, overlay, self.max_value)
        else:
            seen = np.rint(self.picture.chain.forward(stored[overlay.window]) * FINE).astype(np.int64)
            marked = blend(seen, evolve(overlay, x=0, y=0), FINE)
            pixels = stored.copy()
            pixels[overlay.window] = np.where(marked != seen, self._stored(marked), stored[overlay.window])
        return evolve(self.picture, pixels=pixels, changed=not np.array_equal(pixels, stored))

    def _stored(self, seen: np.ndarray) -> np.ndarray:
        """Stored values that are seen as nearly as possible like this; of equals, the one nearest to the visible range."""
        chain, kind = self.picture.chain, self.picture.pixels.dtype
        values = np.arange(int(chain.low), int(chain.high) + 1)
        shown = np.rint(chain.forward(values.astype(kind)) * FINE).astype(np.int64)
        visible = values[(shown > 0) & (shown < FINE)]
        middle = float(np.median(visible)) if len(visible) else float(values.mean())
        order = np.lexsort((np.abs(values - middle), shown))
        shown, values = shown[order], values[order]
        first = np.r_[True, shown[1:] != shown[:-1]]
        shown, values = shown[first], values[first]
        right = np.clip(np.searchsorted(shown, seen), 1, max(1, len(shown) - 1))
        if len(shown) == 1:
            return np.full(seen.shape, values[0], kind)
        nearer = np.where(seen - shown[right - 1] <= shown[right] - seen, right - 1, right)
        return values[nearer].astype(kind)


def max_value_of(picture: Picture) -> int | None:
    """The largest stored integer, where what is seen is the stored value over it; else None."""
    top = 2**picture.bits - 1
    if picture.pixels.dtype.kind != "u" or top > np.iinfo(picture.pixels.dtype).max:
        return None
    probe = np.array([[0, 1, top]], dtype=picture.pixels.dtype)
    plain = not picture.chain.makes_colour and np.allclose(picture.chain.forward(probe), [[0, 1 / top, 1]], atol=1e-9)
    return top if plain else None
