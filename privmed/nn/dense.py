"""The five-layer dense block of invertible hiding networks, computed without concatenating anything.

As printed, layer i convolves the concatenation of the input and all features before it. Those copies, not the arithmetic, are most
of the time of a training step. A convolution of a concatenation is a sum of convolutions, so each feature can instead be
convolved *once*, with the matching slices of all later kernels side by side, and pushed into the layers that wait for it. Same
parameters, same result, no copy, and wider convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = 5


class DenseBlock(nn.Module):
    """Dense block of HiNet: five 3x3 convolutions, LeakyReLU after the first four.

    At the start the last layer is zero and every other parameter is drawn from N(0, 0.01^2), so the block returns zero.

    Args:
        width: channels of input and output.
        growth: channels of each inner layer.
    """

    def __init__(self, width: int, growth: int = 32) -> None:
        super().__init__()
        self.width, self.growth = width, growth
        for i in range(LAYERS):
            out = growth if i < LAYERS - 1 else width
            self.add_module(f"conv{i + 1}", nn.Conv2d(width + i * growth, out, 3, padding=1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.01)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    @property
    def layers(self) -> list[nn.Conv2d]:
        """The convolutions, first to last."""
        return [getattr(self, f"conv{i + 1}") for i in range(LAYERS)]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to (B, width, H, W)."""
        kernels = [layer.weight for layer in self.layers]
        biases = torch.cat([layer.bias for layer in self.layers])
        waiting = F.conv2d(x, torch.cat([k[:, : self.width] for k in kernels]), biases, padding=1)
        for i in range(LAYERS - 1):
            feature = F.leaky_relu(waiting[:, : self.growth], 0.01)
            first = self.width + i * self.growth
            slices = torch.cat([k[:, first : first + self.growth] for k in kernels[i + 1 :]])
            waiting = waiting[:, self.growth :] + F.conv2d(feature, slices, padding=1)
        return waiting
