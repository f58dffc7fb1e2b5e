"""Central difference convolution: a vanilla kernel plus one that sees only differences to the centre.

UMed (Lin et al., IJCAI 2024, Eq. 3), after Z. Yu et al., "Searching Central Difference Convolutional Networks for Face
Anti-Spoofing", CVPR 2020. Unlike there, the two kernels are trained apart and no factor balances them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CentralDifference(nn.Module):
    """3x3 convolution with the kernels ``w_v`` (on values) and ``w_c`` (on differences to the centre), computed as one.

    ``sum w_v f(r - D) + sum w_c (f(r - D) - f(r))`` is a convolution with ``w_v + w_c`` less the sum of ``w_c`` at the centre: the
    same functions as a vanilla 3x3, with another gradient.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(inputs, outputs, 3, padding=1) for _ in range(2))
        # Halved, their sum has half the variance of one; normalisation follows.
        self.w_v = nn.Parameter(first.weight.detach() / 2)
        self.w_c = nn.Parameter(second.weight.detach() / 2)
        self.bias = first.bias

    def kernel(self) -> Tensor:
        """The one kernel that does the work of both, (outputs, inputs, 3, 3)."""
        centre = F.pad(self.w_c.sum((2, 3), keepdim=True), (1, 1, 1, 1))
        return self.w_v + self.w_c - centre

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        return F.conv2d(x, self.kernel().to(memory_format=torch.channels_last), self.bias, padding=1)
