"""What an exploiter may do who does not know which filter undoes a protection, or does not trust what lies along outlines at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from privmed import hookimpl
from privmed.bench.contracts import Defence
from privmed.bench.defences import in_batches
from privmed.bench.filters import Bilateral, FiveBits, Grey, Median
from privmed.imaging.contour import contour
from privmed.imaging.effects import gaussian_blur, jpeg_file

FILTERS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    gaussian_blur,
    lambda x: jpeg_file(x, 60),
    lambda x: jpeg_file(x, 30),
    Median().change,
    Bilateral().change,
    FiveBits().change,
    Grey().change,
)
"""Of images (B, C, S, S) in [0, 1]: as they are, and after filters that need no mask and do not know the pattern."""


class Mixed(Defence):
    """Every image through a filter of its own, drawn anew in each epoch.

    What undoes many patterns is among them; what undoes ``waves`` (``notch``, ``bandstop``) is not.
    """

    name = "mixed"

    def augment(self, images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = rng.integers(len(FILTERS), size=len(images))
        changed = [FILTERS[n](image[None]) for n, image in zip(drawn, images)]
        return torch.cat(changed).clamp(0, 1), masks


class Inpaint(Defence):
    """Paints over a band along outlines, where protectors change most, with what lies on both sides of it.

    Bands along the outlines of the mask of the image before are painted over as well, so that such a band is no sign of a lesion.
    """

    name = "inpaint"
    band = 7  # pixels
    reach = (
        2.0,
        6.0,
    )  # deviations of the Gaussians that what lies beside is averaged with: near, and where that finds nothing

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
        if truth.ndim == 1:
            return images
        bands = contour(truth.float(), self.band)
        known = 1 - torch.maximum(bands, bands.roll(1, 0))
        filled = in_batches(torch.cat([images, (known * 255).byte()], 1), self._fill)[:, : images.shape[1]]
        return torch.where(known > 0, images, filled)

    def _fill(self, both: Tensor) -> Tensor:
        """Images with their masks of what is known as a last channel: the weighted mean of what is known around every pixel."""
        image, known = both[:, :-1], both[:, -1:]
        out = torch.full_like(image, float("nan"))
        for reach in self.reach:
            side = 2 * round(2 * reach) + 1
            weight = gaussian_blur(known, reach, side)
            mean = gaussian_blur(image * known, reach, side) / weight.clamp(min=1e-6)
            out = torch.where(out.isnan() & (weight > 1e-3), mean, out)
        return torch.cat([torch.where(out.isnan(), image, out), known], 1)


@hookimpl
def privmed_register(register):
    register(Mixed)
    register(Inpaint)
