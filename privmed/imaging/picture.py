"""One object for a picture: its pixels in their own units, the chain that makes them visible, and what writes them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import evolve, field, frozen
from torch import Tensor

from privmed.errors import InputError, LossError
from privmed.imaging.chain import Chain

REPAIRS = 4  # units a stored value is taken back before its source is restored
VIEW_BITS = 8  # of what is hidden and sent
ROUNDING = 1e-6  # float32 cannot hold 4/255 exactly
Writer = Callable[["Picture", Path], None]


@frozen(eq=False)
class Picture:
    """A picture as it lies in its file.

    Attributes:
        pixels: stored values, (H, W) or (H, W, 3), never rescaled.
        chain: how stored values become what a human or a network sees, in [0, 1].
        format: ``"png"``, ``"jpeg"``, ``"tiff"`` or ``"dicom"``.
        bits: significant bits of a stored value.
        writer: puts a picture of this kind into a file.
        source: where it was read.
        extra: what the writer needs besides (DICOM tags, TIFF tags, an opaque alpha channel).
        lossy: what saving in this format cannot keep, or an empty string.
        changed: whether the pixels differ from those of the source.

    Example:
        >>> import torch
        >>> from privmed.imaging import read, write_view
        >>> path = write_view("scan.png", torch.full((1, 1, 32, 48), 0.5))
        >>> picture = read(path)
        >>> picture.size, picture.bits, picture.tensor().shape
        ((32, 48), 8, torch.Size([1, 1, 32, 48]))
        >>> lighter = picture.with_view(picture.tensor() + 10 / 255)
        >>> lighter.save("lighter.png").name, int(lighter.pixels[0, 0]) - int(picture.pixels[0, 0])
        ('lighter.png', 10)
    """

    pixels: np.ndarray
    chain: Chain
    format: str
    bits: int
    writer: Writer
    source: Path
    extra: dict[str, Any] = field(factory=dict, repr=False)
    lossy: str = ""
    changed: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour, of what :meth:`tensor` returns."""
        return 3 if self.pixels.ndim == 3 or self.chain.makes_colour else 1

    @property
    def beyond_view(self) -> str:
        """What the 8-bit view of this picture does not hold, or an empty string."""
        return "" if self.bits <= VIEW_BITS else f"{self.bits} bits a value become the {VIEW_BITS} of what is seen"

    def tensor(self) -> Tensor:
        """What a human or a network sees: (1, 1 or 3, H, W) float32 in [0, 1]."""
        seen = self.chain.forward(self.pixels)
        seen = seen[None] if seen.ndim == 2 else np.moveaxis(seen, 2, 0)
        return torch.from_numpy(np.ascontiguousarray(seen, dtype=np.float32))[None]

    def with_view(self, view: Tensor) -> Picture:
        """Return the picture whose view is ``view``, by adding only the *residual* to the stored pixels.

        Pixels whose view did not change keep their stored value bit for bit, also where the window saturates. A residual is
        turned into stored units with the slope of the chain at that pixel.

        Args:
            view: as :meth:`tensor` gives it, (1, 1 or 3, H, W) in [0, 1].

        Raises:
            InputError: when ``view`` has another shape.
            LossError: when stored values are palette indices, to which nothing can be added.
        """
        old = self.tensor()
        if view.shape != old.shape:
            raise InputError(f"{self.source}: expected a view of shape {tuple(old.shape)}, got {tuple(view.shape)}.")
        residual = (view.detach().cpu().double() - old.double())[0].numpy()
        residual = residual[0] if self.pixels.ndim == 2 and not self.chain.makes_colour else np.moveaxis(residual, 0, 2)
        if not residual.any():
            return self
        pixels = self.chain.add(self.pixels, residual, self.source)
        return evolve(self, pixels=pixels, changed=not np.array_equal(pixels, self.pixels))

    def within(self, view: Tensor, bound: float) -> Picture:
        """As :meth:`with_view`, with the promise that what is seen moves by ``bound`` at most, after rounding to stored units.

        A stored value that rounding has carried beyond the bound goes back towards its source, unit by unit.

        Args:
            view: as :meth:`tensor` gives it, (1, 1 or 3, H, W) in [0, 1].
            bound: above 0, on the [0, 1] scale.

        Raises:
            InputError, LossError: as :meth:`with_view`.
        """
        changed = self.with_view(view)
        old = self.chain.forward(self.pixels)
        pixels = changed.pixels
        for _ in range(REPAIRS):
            over = np.abs(self.chain.forward(pixels) - old) > bound + ROUNDING
            if not over.any():
                return evolve(changed, pixels=pixels, changed=not np.array_equal(pixels, self.pixels))
            back = np.sign(self.pixels.astype(np.int64) - pixels.astype(np.int64))
            pixels = (pixels.astype(np.int64) + np.where(over, back, 0)).astype(pixels.dtype)
        pixels = np.where(over, self.pixels, pixels)
        return evolve(changed, pixels=pixels, changed=not np.array_equal(pixels, self.pixels))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the picture in its own format, depth and tags.

        Raises:
            LossError: when the format cannot keep these pixels (an altered JPEG).
            OutputError: when ``path`` exists or cannot be written.
        """
        from privmed.files import whole_file

        if self.changed and self.lossy:
            raise LossError(f"{self.source}: {self.lossy}")
        with whole_file(path, overwrite=overwrite) as temporary:
            self.writer(self, temporary)
        return Path(path)
