"""Logos: reading one, drawing the default one, and fitting it to an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from attrs import field, frozen
from PIL import Image
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging.overlay import Overlay
from privmed.imaging.raster import opened
from privmed.imaging.read import read
from privmed.limits import check_file

SUPERSAMPLE = 4
FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")  # and none that another program would have to draw, such as EPS


@frozen(eq=False)
class FittedLogo:
    """A logo of the size that an image gets.

    Attributes:
        opacity: (h, w) uint8.
        colour: (h, w, 3) uint8.
        jitter: (h, w) uint8, taken off the opacity limit of each pixel.
    """

    opacity: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)
    jitter: np.ndarray = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.opacity.shape

    def at(self, x: int, y: int, limit: int = 255) -> Overlay:
        """The logo with its upper left corner in column ``x`` and row ``y``, nowhere more opaque than ``limit``."""
        limits = np.maximum(self.jitter, np.uint8(limit)) - self.jitter  # never below 0
        return Overlay(x, y, np.minimum(self.opacity, limits), self.colour)


def read_logo(path: str | Path) -> Tensor:
    """Read a logo, (1, 3 or 4, h, w) in [0, 1]; four channels when the file has transparency.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        check_file(path)
        with opened(Path(path), path, FORMATS) as file:
            file.load()
            if file.mode.startswith(("I", "F")):
                return read(path).tensor().expand(-1, 3, -1, -1)
            clear = file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info
            pixels = np.array(file.convert("RGBA" if clear else "RGB"))
    except (OSError, SyntaxError, ValueError):
        return read(path).tensor().expand(-1, 3, -1, -1)  # another format, or the sentence that says what is wrong
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def draw_logo(side: int = 224) -> Tensor:
    """The default logo at any size: a shield with a keyhole, bright on transparent, (1, 4, side, side)."""
    n = side * SUPERSAMPLE
    v, u = (np.mgrid[0:n, 0:n] + 0.5) / n * 2 - 1  # [-1, 1], v downwards

    def shield(scale: float) -> np.ndarray:
        half = np.where(v < 0.05, 0.78, 0.78 * np.sqrt(np.clip(1 - ((v - 0.05) / (0.9 * scale + 0.02)) ** 2, 0, 1)))
        return (np.abs(u) < half * scale) & (v > -0.86 * scale)

    keyhole = (np.hypot(u, v + 0.18) < 0.2) | ((np.abs(u) < 0.08 + 0.09 * (v + 0.1)) & (v > -0.1) & (v < 0.42))
    outer, inner = shield(1.0), shield(0.84)
    bright = np.where(outer & ~inner, 255, np.where(inner & ~keyhole, 235, 0)).astype(np.uint8)
    rim, field = np.array([255, 255, 255]), np.array([120, 220, 255])
    colour = np.where((outer & ~inner)[..., None], rim, field).astype(np.uint8)
    picture = Image.fromarray(np.dstack([colour, bright]), "RGBA").resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def fit_logo(logo: Tensor, size: tuple[int, int], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale a logo to an image, so that it fits into one ``scale``-th of each side (MedLocker, Eq. 2).

    Args:
        logo: (1, 3 or 4, h, w) in [0, 1].
        size: height and width of the image.
        scale: ``sl`` of the paper.

    Returns:
        Opacity (h', w') and colour (h', w', 3), both uint8. A logo without transparency is as opaque as it is bright.

    Raises:
        InputError: when the logo would not fit into the image.
    """
    rows, columns = logo.shape[-2:]
    height, width = fitted_size((rows, columns), size, scale)
    if height > size[0] or width > size[1]:
        raise InputError(
            f"logo: would be {width} x {height}, larger than the image of {size[1]} x {size[0]}. Use a scale of at least 1."
        )
    pixels = (logo[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    mode = "RGBA" if pixels.shape[2] == 4 else "RGB"
    small = Image.fromarray(pixels, mode).resize((width, height), Image.Resampling.LANCZOS)
    array = np.array(small)
    opacity = array[..., 3] if mode == "RGBA" else np.array(small.convert("L"))
    if not opacity.any():
        raise InputError("logo: is transparent or black everywhere, so nothing of it would be seen.")
    return opacity, np.ascontiguousarray(array[..., :3])


def fitted_size(logo: tuple[int, int], image: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of the fitted logo: exact rational arithmetic, halves go up, at least one pixel."""
    from fractions import Fraction

    share = min(Fraction(n) / (Fraction(scale) * m) for n, m in zip(image, logo))
    return tuple(max(1, int(m * share + Fraction(1, 2))) for m in logo)  # type: ignore[return-value]
