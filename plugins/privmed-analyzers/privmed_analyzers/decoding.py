"""How the client reads an answer: the same few numbers for every analyzer (HideMIA)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from attrs import frozen
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.imaging.labels import LARGEST, codes
from privmed.settings import at_least, between, one_of, positive, setting

# Logit of what is taken back: of several photographs whose answers are averaged, more than half have to be sure.
UNMARKED = -10.0
GRID = 8  # the classification head sees the recovered image on this grid: tiny, so that the client does no analysis


def not_one(_: Any, attribute: Any, value: Any) -> None:
    """Refuse a single class: its probability would always be 1."""
    if value == 1:
        raise ValueError(f"{attribute.name} must be 0 or at least 2, got 1")


not_one.says = "not 1"  # type: ignore[attr-defined]


def not_both(config: Any, _: Any, value: Any) -> None:
    """Refuse classes of the image and of its pixels at once."""
    if value and config.classes:
        raise ValueError("classes and mask_classes exclude each other: of the whole image, or of its pixels")


def within_reach(config: Any, _: Any, value: Any) -> None:
    """Refuse a peak of anything but one foreground, and one that no answer reaches."""
    if value and (config.classes or config.mask_classes):
        raise ValueError("peak is of one foreground, so it excludes classes and mask_classes; leave it out")
    if value > (most := 1 / (1 + math.exp(-config.gain * (1 - config.threshold)))):
        raise ValueError(
            f"peak {value:g} is out of reach: with this gain and threshold a white answer has a probability of {most:.4f}"
        )


@frozen(kw_only=True)
class DecoderConfig:
    """Settings of the answer's decoding."""

    gain: float = setting(10.0, "g of p = sigmoid(g * (mean - t)); the paper: 1", positive())
    threshold: float = setting(0.5, "t of the same; the paper: 0")
    classes: int = setting(0, "0 for segmentation, else the number of classes", at_least(0), not_one)
    mask_classes: int = setting(
        0,
        "0 for one foreground, else the classes to segment, background among them",
        between(0, LARGEST - 1),
        not_one,
        not_both,
    )
    colours: str = setting(
        "fixed", "colours that stand for mask classes at the client: fixed, or learned", one_of("fixed", "learned")
    )
    presence: bool = setting(
        False, "whether the client is also told that nothing was hidden; ours, the paper has no such answer"
    )
    peak: float = setting(
        0.0,
        "probability that a region of one foreground reaches somewhere, or it is not marked; 0 for all regions; ours",
        between(0, 1),
        within_reach,
    )


class OutputDecoder(nn.Module):
    """Turn a recovered answer (B, 3, H, W) into logits: of a mask (B, 1, H, W) or (B, mask_classes, H, W), or of classes (B, classes)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gain, self.threshold, self.tells = config.gain, config.threshold, config.presence
        self.peak = config.peak
        self.head = nn.Linear(3 * GRID * GRID, config.classes) if config.classes else None
        self.colours = Colours(config) if config.mask_classes else None

    def forward(self, recovered: Tensor) -> Tensor:
        if self.head is not None:
            return self.head(F.adaptive_avg_pool2d(recovered, GRID).flatten(1))
        if self.colours is not None:
            return self.colours(recovered)[0]
        logits = self.gain * (recovered.mean(1, keepdim=True) - self.threshold)
        return logits if self.training or not self.peak else sure_regions(logits, self.peak)

    def presence(self, recovered: Tensor) -> Tensor | None:
        """Logits (B,) that a scan was hidden: the answer to a photograph without one is red, or of the colour that no class has."""
        if not self.tells:
            return None
        if self.colours is not None:
            of_classes, of_none = self.colours(recovered)
            return (of_classes.logsumexp(1, keepdim=True) - of_none).mean((1, 2, 3))
        red = recovered[:, 0] - recovered[:, 1:].mean(1)
        return self.gain * (0.5 - red.mean((1, 2)))


def sure_regions(logits: Tensor, peak: float) -> Tensor:
    """Take back regions that are sure nowhere: hysteresis thresholding of a foreground.

    Where nothing is to be found, what is marked all the same is mostly unsure throughout, while a lesion is sure in its middle. So pixels
    that are more likely than not count only where they are connected (eight neighbours) with one above ``peak``.

    Args:
        logits: (B, 1, H, W) of the foreground.
        peak: probability below 1 that a region has to reach.

    Returns:
        The same, with regions that do not reach it far below 0: as if nothing had been there.

    Reference:
        J. Canny, "A Computational Approach to Edge Detection", IEEE PAMI 1986, section VI.
    """
    height = math.log(peak / (1 - peak))
    given = logits.detach()[:, 0].float().cpu().numpy()
    sure = np.zeros(logits.shape, bool)
    for n, one in enumerate(given):
        sure[n, 0] = (one <= 0) | _reaching(one, height)
    return logits.masked_fill(~torch.from_numpy(sure).to(logits.device), UNMARKED)


def _reaching(logits: np.ndarray, height: float) -> np.ndarray:
    """Where one map lies in a region that reaches a height."""
    regions, count = ndimage.label(logits > 0, structure=np.ones((3, 3)))
    reaches = np.zeros(count + 1, bool)
    reaches[np.unique(regions[logits > height])] = True
    reaches[0] = False
    return reaches[regions]


class Colours(nn.Module):
    """A colour a class, and one more for none where it is told: logits whose largest is that of the nearest colour.

    ``-g |x - c|^2`` is linear in x but for ``-g |x|^2``, which all colours share: so it is a 1x1 convolution. Learned, it starts there.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.classes = config.mask_classes
        points = codes(self.classes + config.presence)
        weight, bias = 2 * config.gain * points, -config.gain * points.square().sum(1)
        if config.colours == "learned":
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        else:
            self.register_buffer("weight", weight, persistent=False)
            self.register_buffer("bias", bias, persistent=False)

    def forward(self, recovered: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 3, H, W) to logits of the classes, (B, mask_classes, H, W), and of none of them, (B, 1 or 0, H, W)."""
        logits = torch.einsum("kc,bchw->bkhw", self.weight, recovered) + self.bias.view(-1, 1, 1)
        return logits[:, : self.classes], logits[:, self.classes :]
