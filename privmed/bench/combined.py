"""What an exploiter may do who does not know what undoes a protection, does not trust what lies along outlines, or combines defences."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import hookimpl, registry
from privmed.bench.contracts import Defence, Loss
from privmed.bench.defences import in_batches
from privmed.bench.filters import Bilateral, FiveBits, Grey, Median
from privmed.errors import SettingsError
from privmed.imaging.contour import contour
from privmed.imaging.effects import gaussian_blur, jpeg_file
from privmed.settings import setting

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

    name, tasks = "inpaint", ("segmentation",)
    band = 7  # pixels
    reach = (
        2.0,
        6.0,
    )  # deviations of the Gaussians that what lies beside is averaged with: near, and where that finds nothing

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
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


def names_in(text: str) -> list[str]:
    """The names that are joined by + in a text."""
    return [name.strip() for name in text.split("+")]


def several(_: Any, attribute: Any, value: str | None) -> None:
    """Refuse what is not two names of defences at least, none of them with settings or a chain itself."""
    names = names_in(str(value or ""))
    if len(names) < 2 or not all(names):
        raise ValueError(f"{attribute.name} must name two defences at least, joined by +, got {value!r}")
    if "chain" in names:
        raise ValueError(f"{attribute.name} names a chain in a chain; name its parts, got {value!r}")


several.says = "two at least"  # type: ignore[attr-defined]


@frozen(kw_only=True)
class ChainConfig:
    """Settings of :class:`Chain`."""

    of: str = setting(
        "blur+augment", "names of the defences, in the order in which they are applied, joined by +", several
    )


class Chain(Defence):
    """Several defences one after the other, as an exploiter may combine them: ``chain[of=notch+augment+clean10]``.

    The parts have their own defaults. Of clean images it has the largest share that one of them has; it begins with a network that learnt
    elsewhere if one of them does.
    """

    name = "chain"
    Config = ChainConfig

    def __init__(self, config: ChainConfig | None = None) -> None:
        super().__init__(config)
        self.parts: list[Defence] = [registry.part("defence", name) for name in names_in(self.config.of)]
        if len({p.validates for p in self.parts if p.clean}) > 1:
            raise SettingsError(
                f"chain: {self.config.of} trains on clean images and stops by them at once; leave one of these out."
            )
        self.clean = max(p.clean for p in self.parts)  # type: ignore[misc]
        self.validates = any(p.validates for p in self.parts)  # type: ignore[misc]
        self.pretrained = any(p.pretrained for p in self.parts)  # type: ignore[misc]
        self.tasks = tuple(t for t in Defence.tasks if all(t in p.tasks for p in self.parts))  # type: ignore[misc]

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
        return reduce(lambda x, part: part.purify(x, truth), self.parts, images)

    def prepare(self, images: Tensor) -> Tensor:
        return reduce(lambda x, part: part.prepare(x), self.parts, images)

    def adapt(self, network: nn.Module) -> nn.Module:
        return reduce(lambda x, part: part.adapt(x), self.parts, network)

    def deploy(self, images: Tensor) -> Tensor:
        return reduce(lambda x, part: part.deploy(x), self.parts, images)

    def augment(self, images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return reduce(lambda both, part: part.augment(*both, rng), self.parts, (images, masks))

    def harden(self, images: Tensor, loss: Loss) -> Tensor:
        return reduce(lambda x, part: part.harden(x, loss), self.parts, images)


@hookimpl
def privmed_register(register):
    for defence in (Mixed, Inpaint, Chain):
        register(defence)
