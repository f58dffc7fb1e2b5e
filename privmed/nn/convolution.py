"""The block that plain networks are chains of."""

from __future__ import annotations

from torch import nn


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 x 3 convolution, batch normalisation and ReLU, (B, inputs, H, W) to (B, outputs, H, W)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
