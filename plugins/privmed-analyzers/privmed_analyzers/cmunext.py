"""CMUNeXt: a light U-shaped network of large depthwise kernels.

F. Tang et al., "CMUNeXt: An Efficient Medical Image Segmentation Network Based on Large Kernel and Skip Fusion", ISBI 2024. Its three
published sizes are the setting ``variant``; S, the default, is the one that a processor can train.

Idea: Large kernels see far, and are cheap when each works on one channel alone. Blocks of such convolutions take the place of attention,
and the skips are fused by convolutions in groups. The result is a small network with a wide view.

Formula:
    f'  = norm(gelu(depthwise(f))) + f
    f'' = norm(gelu(W_2 norm(gelu(W_1 f'))))     W_1 widens four times, W_2 brings the width back

Weak at: stegos of any other hider than the one it was trained with. No weights come with it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import hookimpl
from privmed.nn.convolution import conv_bn_relu
from privmed.settings import one_of, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


class Variant(NamedTuple):
    """Channels, blocks and kernel sides of the five levels."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]


VARIANTS = {
    "s": Variant((8, 16, 32, 64, 128), (1, 1, 1, 1, 1), (3, 3, 7, 7, 9)),
    "base": Variant((16, 32, 128, 160, 256), (1, 1, 1, 3, 1), (3, 3, 7, 7, 7)),
    "l": Variant((32, 64, 128, 256, 512), (1, 1, 1, 6, 3), (3, 3, 7, 7, 7)),
}


@frozen(kw_only=True)
class CMUNeXtConfig(PlainConfig):
    """Settings of :class:`CMUNeXt`."""

    variant: str = setting("s", "published size: s, base or l", one_of(*VARIANTS))


def gelu_bn(layer: nn.Module, channels: int) -> nn.Sequential:
    """A layer, GELU and batch normalisation, in the paper's order."""
    return nn.Sequential(layer, nn.GELU(), nn.BatchNorm2d(channels))


class Block(nn.Module):
    """A large depthwise kernel around a shortcut, then an inverted bottleneck without one."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        wide = 4 * channels
        depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.spatial = gelu_bn(depthwise, channels)
        self.mix = nn.Sequential(
            gelu_bn(nn.Conv2d(channels, wide, 1), wide), gelu_bn(nn.Conv2d(wide, channels, 1), channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return self.mix(x + self.spatial(x))


class SkipFusion(nn.Sequential):
    """Joins skip and decoder, each first filtered by itself: (B, 2 * channels, H, W) to (B, channels, H, W)."""

    def __init__(self, channels: int) -> None:
        both, wide = 2 * channels, 4 * channels
        super().__init__(
            gelu_bn(nn.Conv2d(both, both, 3, padding=1, groups=2), both),
            gelu_bn(nn.Conv2d(both, wide, 1), wide),
            gelu_bn(nn.Conv2d(wide, channels, 1), channels),
        )


class Network(nn.Module):
    """The network of the paper.

    Args:
        inputs, outputs: channels of the image and of the output.
        variant: its size.
    """

    def __init__(self, inputs: int, outputs: int, variant: Variant) -> None:
        super().__init__()
        dims, depths, kernels = variant
        self.stem = conv_bn_relu(inputs, dims[0])
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Block(a, k) for _ in range(depth)), conv_bn_relu(a, b))
            for a, b, depth, k in zip([dims[0], *dims], dims, depths, kernels)
        )
        falling = list(pairwise(reversed(dims)))
        self.up = nn.ModuleList(conv_bn_relu(a, b) for a, b in falling)
        self.fusion = nn.ModuleList(SkipFusion(b) for _, b in falling)
        self.head = nn.Conv2d(dims[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W); H and W must be multiples of 16."""
        x, skips = self.stem(x), []
        for level, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, fusion, skip in zip(self.up, self.fusion, reversed(skips[:-1])):
            x = up(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            x = fusion(torch.cat([skip, x], 1))
        return self.head(x)


class CMUNeXt(PlainAnalyzer):
    """Large kernels and skip fusion."""

    name = "cmunext"
    Config = CMUNeXtConfig

    def build(self) -> nn.Module:
        return Network(3, 3, VARIANTS[self.config.variant])


@hookimpl
def privmed_register(register) -> None:
    register(CMUNeXt)
