"""The metrics of the core, as parts of a comparison; the arithmetic is in :mod:`privmed.metrics`."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed import hookimpl
from privmed import metrics as of
from privmed.bench.contracts import Metric

SIDE = 224  # of the papers' images


class Dice(Metric):
    """Dice coefficient at a threshold of 0.5."""

    name, title, measures = "dice", "Dice", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.dice(found, truth)


class FalseArea(Metric):
    """Share of an image without a lesion that is marked all the same; images with one are left out."""

    name, title, measures, better = "false-area", "falsely marked area", "masks", "lower"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return _without(truth, of.marked_area(found))


class Silent(Metric):
    """Share of images without a lesion on which less than half a percent is marked; images with one are left out."""

    name, title, measures = "silent", "silent where nothing is", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return _without(truth, of.silent(found).float())


class Missed(Metric):
    """Share of images with a lesion on which less than half a percent is marked; images without one are left out."""

    name, title, better, measures = "missed", "silent where a lesion is", "lower", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return torch.where(truth.flatten(1).any(1), of.silent(found).float(), torch.inf)


def _without(truth: Tensor, values: Tensor) -> Tensor:
    """Values of the images whose truth is empty, infinite for all others."""
    return torch.where(truth.flatten(1).any(1), torch.inf, values)


class Jaccard(Metric):
    """Jaccard index at a threshold of 0.5."""

    name, title, measures = "jaccard", "Jaccard index", "masks"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.iou(found, truth)


class SurfaceDistance(Metric):
    """Average symmetric distance of the outlines, in pixels of an image of 224 x 224 whatever its size, so that sizes compare.

    An image on which nothing is found though something is there counts with its diagonal, 317, which a mean shows.
    """

    name, title, unit, measures, better = "asd", "average surface distance", "px of 224", "masks", "lower"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return of.surface_distance(found, truth) * SIDE / max(truth.shape[-2:])


class Accuracy(Metric):
    """Share of images whose most probable class is the true one."""

    name, title, measures = "accuracy", "accuracy", "classes"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        return (found.argmax(1) == truth).float()


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


class ColourDifference(Metric):
    """Mean CIEDE2000 over the pixels that differ; 1 is about what is just seen side by side. Images that do not differ are left out.

    Needs scikit-image.
    """

    name, title, better = "ciede2000", "CIEDE2000 where changed", "lower"

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        alike = (found == truth).flatten(1).all(1).cpu()
        return torch.where(alike, torch.inf, of.colour_difference(found, truth))


@hookimpl
def privmed_register(register):
    for metric in (
        Dice,
        FalseArea,
        Silent,
        Missed,
        Jaccard,
        SurfaceDistance,
        Accuracy,
        Psnr,
        PsnrLuma,
        Ssim,
        ColourDifference,
    ):
        register(metric)
