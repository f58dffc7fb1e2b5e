"""What an exploiter may do who knows how protection works: it has the masks, and may own some clean images."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import hookimpl
from privmed.bench.contracts import Defence
from privmed.bench.defences import in_batches
from privmed.bench.filters import Filter
from privmed.imaging.contour import contour
from privmed.imaging.effects import gaussian_blur
from privmed.settings import between, setting

WINDOW, HOP = 16, 8  # of the short-time Fourier transform; Hann windows at half their length add up to one
EXCESS = 2.5  # times what its surroundings hold, by which a frequency in the lesion is taken for added
PASSED = (1 / 12, 1 / 2.2)  # cycles a pixel, between which the band stop passes nothing


class Notch(Defence):
    """Finds in each image the frequencies that stand out inside the mask, and brings them down to what the surroundings have.

    It need not know the protector: a frequency is too strong where its power in windows inside the mask exceeds that outside, by more
    than ``EXCESS`` times what is usual over all frequencies of that image. Images without a mask, or without surroundings, stay.
    """

    name, tasks = "notch", ("segmentation",)

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
        out = [notched(x.float(), m.float()) for x, m in zip(images, truth)]
        return torch.stack(out).round().clamp(0, 255).byte()


class BandStop(Filter):
    """Takes the whole band in which fine patterns can lie out of all images, also of those that the network is asked about."""

    name = "bandstop"

    def change(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        rows, columns = (torch.fft.fftfreq(n, device=images.device) for n in (height, width))
        radius = (rows.view(-1, 1) ** 2 + columns**2).sqrt()
        kept = (radius < PASSED[0]) | (radius > PASSED[1])
        return torch.fft.ifft2(torch.fft.fft2(images) * kept).real


class Outline(Defence):
    """Smooths a band along outlines, where protectors change most.

    Those of the next image's mask are smoothed as well, so that a smooth band is no sign of a lesion.
    """

    name, tasks = "outline", ("segmentation",)
    band, sigma, side = 7, 2.0, 9

    def purify(self, images: Tensor, truth: Tensor) -> Tensor:
        bands = contour(truth.float(), self.band)
        bands = torch.maximum(bands, bands.roll(1, 0)) > 0
        smooth = in_batches(images, lambda x: gaussian_blur(x, self.sigma, self.side))
        return torch.where(bands, smooth, images)


@frozen(kw_only=True)
class CleanConfig:
    """Settings of :class:`Clean`."""

    share: float = setting(0.1, "part of the training images that the exploiter has clean", between(0.01, 0.9))


class Clean(Defence):
    """Has a share of the training images clean, and trains on those in place of the protected ones."""

    name = "clean"
    Config = CleanConfig

    @property
    def clean(self) -> float:  # type: ignore[override]
        """The share."""
        return self.config.share


class Clean10(Defence):
    """Has a tenth of the training images clean, and trains on those in place of the protected ones."""

    name, clean = "clean10", 0.1


class Clean50(Defence):
    """Has half of the training images clean, and trains on those in place of the protected ones."""

    name, clean = "clean50", 0.5


class EarlyStop(Defence):
    """Stops where the network does best on a tenth of the training images, which it has clean and does not train on."""

    name, clean, validates = "early-stop", 0.1, True


class Pretrained(Defence):
    """Begins with a network that was trained on another data set, which nobody protected (the suite's setting ``elsewhere``)."""

    name, pretrained = "pretrained", True


class Instance(Defence):
    """Brings every image to one mean and deviation, and has instance in place of batch normalisation."""

    name = "instance"

    def adapt(self, network: nn.Module) -> nn.Module:
        for module in list(network.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, nn.BatchNorm2d):
                    setattr(module, name, nn.InstanceNorm2d(layer.num_features, affine=True))
        return nn.Sequential(nn.InstanceNorm2d(3), network)


def notched(image: Tensor, mask: Tensor) -> Tensor:
    """An image (C, H, W) whose windows that touch the mask (1, H, W) hold no frequency more strongly than its surroundings do."""
    height, width = image.shape[-2:]
    spectra, shape = _windows(image)
    weight = _hann(image).view(1, 1, WINDOW, WINDOW)
    covered = (_patches(mask)[0] * weight).sum((-2, -1)) / weight.sum()  # (N, 1): of each window
    inside, outside = covered.flatten() > 0.5, covered.flatten() == 0
    if not inside.any() or not outside.any():
        return image
    power = spectra.abs().square()
    ratio = power[inside].mean(0) / power[outside].mean(0).clamp(min=1e-6)
    usual = ratio.flatten(1).median(1).values.view(-1, 1, 1)
    gain = torch.where(ratio > EXCESS * usual, (usual / ratio).sqrt(), torch.ones_like(ratio))
    gain[:, 0, 0] = 1  # the mean stays
    gains = torch.where((covered.flatten() > 0).view(-1, 1, 1, 1), gain, torch.ones_like(gain))
    return _joined(torch.fft.ifft2(spectra * gains).real, shape)[:, HOP : HOP + height, HOP : HOP + width]


def _hann(like: Tensor) -> Tensor:
    line = torch.hann_window(WINDOW, periodic=True, device=like.device)
    return line.view(-1, 1) * line


def _patches(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Overlapping windows (N, C, WINDOW, WINDOW) of an image, and the sides they were cut from; every pixel lies in four."""
    padded = F.pad(image[None], (HOP, HOP + -image.shape[-1] % HOP, HOP, HOP + -image.shape[-2] % HOP), mode="reflect")
    found = padded.unfold(2, WINDOW, HOP).unfold(3, WINDOW, HOP)[0]  # (C, rows, columns, WINDOW, WINDOW)
    return found.flatten(1, 2).transpose(0, 1), padded.shape[-2:]


def _windows(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    patches, shape = _patches(image)
    return torch.fft.fft2(patches * _hann(image)), shape


def _joined(patches: Tensor, shape: tuple[int, int]) -> Tensor:
    """Windows laid over one another again, (C, *shape)."""
    columns = patches.flatten(1).transpose(0, 1)[None]
    return F.fold(columns, shape, WINDOW, stride=HOP)[0]


@hookimpl
def privmed_register(register):
    for defence in (Notch, BandStop, Outline, Clean, Clean10, Clean50, EarlyStop, Pretrained, Instance):
        register(defence)
