"""A plain U-Net whose encoder can be walked level by level, so that other networks can reach in between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Convolution = Callable[[int, int], nn.Module]
LEVELS = 5


def convolution(inputs: int, outputs: int) -> nn.Module:
    """The vanilla 3x3 convolution of a stage."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Stage(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, conv: Convolution = convolution) -> None:
        super().__init__(
            conv(inputs, outputs),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            conv(outputs, outputs),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """U-Net with five levels of ``width`` to ``16 * width`` channels (Ronneberger et al., MICCAI 2015).

    Args:
        inputs: channels of the image.
        outputs: channels of the answer.
        width: channels of the first level.
        conv: makes the convolutions of the encoder; the decoder's are vanilla.
        silent: start with an answer of zero, right for what is added to something else. A segmenter that starts so learns nothing
            for its first hundreds of steps.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 3,
        width: int = 32,
        conv: Convolution = convolution,
        *,
        silent: bool = True,
    ) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(LEVELS)]
        self.encoder = nn.ModuleList(Stage(a, b, conv) for a, b in zip([inputs, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(Stage(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, outputs, 1)
        if silent:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W); H and W must be multiples of 16."""
        features = []
        for level in range(LEVELS):
            features.append(self.down(level, features[-1] if features else x))
        return self.climb(features)

    def down(self, level: int, x: Tensor) -> Tensor:
        """One level of the encoder; all but the first halve the sides."""
        return self.encoder[level](nn.functional.max_pool2d(x, 2) if level else x)

    def climb(self, features: list[Tensor]) -> Tensor:
        """The decoder, from the features of all levels."""
        x = features[-1]
        for up, stage, skip in zip(self.up, self.decoder, reversed(features[:-1])):
            x = stage(torch.cat([skip, up(x)], dim=1))
        return self.head(x)
