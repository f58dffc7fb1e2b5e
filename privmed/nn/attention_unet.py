"""Attention U-Net: a U-Net whose skips pass through gates that the decoder opens.

O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018. The gate is that of the usual
two-dimensional ports: skip and gating signal have one size, so nothing is strided or interpolated in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.nn.convolution import conv_bn_relu
from privmed.nn.unet import LEVELS, Stage


class Gate(nn.Module):
    """Additive attention: alpha = sigmoid(psi(relu(W_x x + W_g g))), one value a pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.skip, self.signal = (nn.Sequential(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner)) for _ in range(2))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """The skip ``x`` (B, C, H, W), let through as the signal ``g`` of the same shape says."""
        return x * self.psi(F.relu(self.skip(x) + self.signal(g)))


class AttentionUNet(nn.Module):
    """U-Net of five levels with a gate on each skip; doubles sides by repetition and a convolution.

    Args:
        inputs: channels of the image.
        outputs: channels of the output.
        width: channels of the first level; 64 in the usual ports.
    """

    def __init__(self, inputs: int = 3, outputs: int = 1, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(LEVELS)]
        self.encoder = nn.ModuleList(Stage(a, b) for a, b in zip([inputs, *widths], widths))
        self.up = nn.ModuleList(conv_bn_relu(2 * w, w) for w in reversed(widths[:-1]))
        self.gates = nn.ModuleList(Gate(w) for w in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(Stage(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W); H and W must be multiples of 16."""
        skips = []
        for level, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, gate, stage, skip in zip(self.up, self.gates, self.decoder, reversed(skips[:-1])):
            x = up(F.interpolate(x, scale_factor=2.0))
            x = stage(torch.cat([gate(skip, x), x], 1))
        return self.head(x)
