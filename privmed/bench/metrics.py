"""The metrics of the core, as parts of a comparison; the arithmetic is in :mod:`privmed.metrics`."""

from __future__ import annotations

from torch import Tensor

from privmed import hookimpl
from privmed import metrics as of
from privmed.bench.contracts import Metric


class Dice(Metric):
    """Dice coefficient at a threshold of 0.5."""

    name, title, measures = "dice", "Dice", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.dice(found, truth)


class Jaccard(Metric):
    """Jaccard index at a threshold of 0.5."""

    name, title, measures = "jaccard", "Jaccard index", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.iou(found, truth)


class Psnr(Metric):
    """Peak signal-to-noise ratio over all channels, data range 1."""

    name, title, unit = "psnr", "PSNR, RGB", "dB"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.psnr(found, truth)


class PsnrLuma(Metric):
    """The same over the luma, in studio range; it is higher."""

    name, title, unit = "psnr-y", "PSNR, Y", "dB"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.psnr(found, truth, channel="y")


class Ssim(Metric):
    """Structural similarity, data range 1."""

    name, title = "ssim", "SSIM"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.ssim(found, truth)


@hookimpl
def privmed_register(register):
    for metric in (Dice, Jaccard, Psnr, PsnrLuma, Ssim):
        register(metric)
