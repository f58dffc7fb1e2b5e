"""TransUNet: a residual network, a vision transformer on its last map, and a U-shaped decoder.

J. Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", 2021 (R50-ViT-B/16), without the
pretrained weights of the paper, and with a pooling that pads by one pixel where the public code pads the pooled map.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (3, 4, 9)  # bottlenecks at strides 4, 8, 16
GRID = 14  # side of the learned position map: 224 / 16


class StandardisedConv(nn.Conv2d):
    """Convolution without bias whose kernels have mean 0 and variance 1 (S. Qiao et al., 2019)."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, side, stride, padding=side // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        mean = w.mean((1, 2, 3), keepdim=True)
        var = w.var((1, 2, 3), keepdim=True, unbiased=False)
        return F.conv2d(x, (w - mean) / torch.sqrt(var + 1e-5), None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with group normalisation, around a shortcut."""

    def __init__(self, inputs: int, outputs: int, middle: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            StandardisedConv(inputs, middle, 1),
            norm(middle),
            nn.ReLU(),
            StandardisedConv(middle, middle, 3, stride),
            norm(middle),
            nn.ReLU(),
            StandardisedConv(middle, outputs, 1),
            norm(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(StandardisedConv(inputs, outputs, 1, stride), nn.GroupNorm(outputs, outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return F.relu(self.shortcut(x) + self.body(x))


class Attention(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * dim, dim), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, dim) to the same shape."""
        y = self.norms[0](x)
        q, k, v = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Up(nn.Sequential):
    """Two 3x3 convolutions after doubling the sides and joining the skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*conv_bn(inputs, outputs), *conv_bn(outputs, outputs))

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) and the skip (B, C', 2H, 2W) to (B, outputs, 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return super().forward(x if skip is None else torch.cat([x, skip], 1))


class TransUNet(nn.Module):
    """The hybrid of the paper, at any width.

    Args:
        inputs: channels of the image.
        outputs: channels of the answer.
        width: channels of the first convolution; 64 in the paper.
        dim: of the tokens; by default 12 times the width, as in the paper (768).
        depth: transformer blocks; 12 in the paper.
        heads: of each block; by default one for about 64 channels of the tokens, as in the paper (12).
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 1,
        width: int = 64,
        dim: int | None = None,
        depth: int = 12,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        w = width
        dim = dim or 12 * w
        heads = heads or next(n for n in range(max(1, dim // 64), 0, -1) if dim % n == 0)
        self.root = nn.Sequential(StandardisedConv(inputs, w, 7, 2), norm(w), nn.ReLU())
        widths = [w, 4 * w, 8 * w, 16 * w]
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Bottleneck(a if i == 0 else b, b, b // 4, 2 if i == 0 and k else 1) for i in range(BLOCKS[k]))
            )
            for k, (a, b) in enumerate(pairwise(widths))
        )
        self.embed = nn.Conv2d(16 * w, dim, 1)
        self.position = nn.Parameter(torch.zeros(1, dim, GRID, GRID))
        self.dropout = nn.Dropout(0.1)
        self.blocks = nn.ModuleList(Attention(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.neck = nn.Sequential(*conv_bn(dim, 8 * w))
        self.up = nn.ModuleList([Up(16 * w, 4 * w), Up(8 * w, 2 * w), Up(3 * w, w), Up(w, max(1, w // 4))])
        self.head = nn.Conv2d(max(1, w // 4), outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W); H and W must be multiples of 16."""
        skips = [self.root(x)]
        x = F.max_pool2d(skips[0], 3, 2, padding=1)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.embed(skips.pop())
        size = x.shape[-2:]
        position = self.position if size == (GRID, GRID) else F.interpolate(self.position, size, mode="bilinear")
        tokens = self.dropout((x + position).flatten(2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens)
        x = self.neck(self.norm(tokens).transpose(1, 2).unflatten(2, size))
        for up, skip in zip(self.up, [*reversed(skips), None]):
            x = up(x, skip)
        return self.head(x)


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or what divides the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


def conv_bn(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
