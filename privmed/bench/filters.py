"""Filters of one image at a time, which an exploiter applies alike to what it trains on and to what its network is asked about."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed import hookimpl
from privmed.bench.contracts import Defence
from privmed.bench.defences import in_batches


class Filter(Defence):
    """The same change to every image."""

    def prepare(self, images: Tensor) -> Tensor:
        return in_batches(images, self.change)

    deploy = prepare

    @abstractmethod
    def change(self, images: Tensor) -> Tensor:
        """Change images, (B, C, S, S) in [0, 1]."""


class Grey(Filter):
    """The mean of the channels in place of colours."""

    name = "grey"

    def change(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True).expand_as(images)


class Channel(Filter):
    """One channel in place of all three."""

    channel: ClassVar[int]

    def change(self, images: Tensor) -> Tensor:
        return images if images.shape[1] == 1 else images[:, self.channel, None].expand_as(images)


class Red(Channel):
    """The red channel alone."""

    name, channel = "red", 0


class Green(Channel):
    """The green channel alone."""

    name, channel = "green", 1


class Blue(Channel):
    """The blue channel alone."""

    name, channel = "blue", 2


class Median(Filter):
    """Median of 3 x 3 pixels."""

    name = "median"

    def change(self, images: Tensor) -> Tensor:
        return neighbours(images, 1).median(0).values


class Bilateral(Filter):
    """Bilateral filter (Tomasi and Manduchi, ICCV 1998) of 5 x 5 pixels: what differs little is averaged, edges stay."""

    name = "bilateral"
    distance, difference = 1.5, 0.06  # deviations, in pixels and on the [0, 1] scale; 0.06 is four times 4/255

    def change(self, images: Tensor) -> Tensor:
        around = neighbours(images, 2)
        steps = torch.arange(-2.0, 3.0)
        apart = (steps.view(-1, 1) ** 2 + steps**2).reshape(-1, 1, 1, 1, 1).to(images.device)
        weights = torch.exp(-apart / (2 * self.distance**2) - (around - images) ** 2 / (2 * self.difference**2))
        return (weights * around).sum(0) / weights.sum(0)


class FiveBits(Filter):
    """32 levels in place of 256, the lower three bits being dropped."""

    name = "bits5"

    def change(self, images: Tensor) -> Tensor:
        return ((images * 255 / 8 + 1e-3).floor() * 8 + 4) / 255


def neighbours(images: Tensor, reach: int) -> Tensor:
    """The neighbours of every pixel of (B, C, H, W) within ``reach``, itself included, as (K, B, C, H, W)."""
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    height, width = images.shape[-2:]
    side = range(2 * reach + 1)
    return torch.stack([padded[..., r : r + height, c : c + width] for r in side for c in side])


@hookimpl
def privmed_register(register):
    for defence in (Grey, Red, Green, Blue, Median, Bilateral, FiveBits):
        register(defence)
