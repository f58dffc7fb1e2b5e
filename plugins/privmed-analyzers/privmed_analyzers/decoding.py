"""How the client reads an answer: the same few numbers for every analyzer (HideMIA)."""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.imaging.labels import LARGEST, codes
from privmed.settings import at_least, between, one_of, positive, setting

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


class OutputDecoder(nn.Module):
    """Turn a recovered answer (B, 3, H, W) into logits: of a mask (B, 1, H, W) or (B, mask_classes, H, W), or of classes (B, classes)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gain, self.threshold, self.tells = config.gain, config.threshold, config.presence
        self.head = nn.Linear(3 * GRID * GRID, config.classes) if config.classes else None
        self.colours = Colours(config) if config.mask_classes else None

    def forward(self, recovered: Tensor) -> Tensor:
        if self.head is not None:
            return self.head(F.adaptive_avg_pool2d(recovered, GRID).flatten(1))
        if self.colours is not None:
            return self.colours(recovered)[0]
        return self.gain * (recovered.mean(1, keepdim=True) - self.threshold)

    def presence(self, recovered: Tensor) -> Tensor | None:
        """Logits (B,) that a scan was hidden: the answer to a photograph without one is red, or of the colour that no class has."""
        if not self.tells:
            return None
        if self.colours is not None:
            of_classes, of_none = self.colours(recovered)
            return (of_classes.logsumexp(1, keepdim=True) - of_none).mean((1, 2, 3))
        red = recovered[:, 0] - recovered[:, 1:].mean(1)
        return self.gain * (0.5 - red.mean((1, 2)))


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
