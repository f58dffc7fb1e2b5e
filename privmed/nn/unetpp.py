"""U-Net++: a U-Net whose skips are chains of blocks, each fed by all before it.

Z. Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018, without deep supervision.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.nn.unet import LEVELS, Stage


class UNetPlusPlus(nn.Module):
    """Nodes X(i, j): level i, j-th block of its chain. X(i, 0) is the encoder, the output is read from X(0, 4).

    Args:
        inputs: channels of the image.
        outputs: channels of the output.
        width: channels of the first level; 32 in the paper.
    """

    def __init__(self, inputs: int = 3, outputs: int = 1, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(LEVELS)]
        self.encoder = nn.ModuleList(Stage(a, b) for a, b in zip([inputs, *widths], widths))
        self.nodes = nn.ModuleDict(
            {
                f"{i}_{j}": Stage(j * widths[i] + widths[i + 1], widths[i])
                for j in range(1, LEVELS)
                for i in range(LEVELS - j)
            }
        )
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W); H and W must be multiples of 16."""
        chains: list[list[Tensor]] = []
        for level, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if level else x)
            chains.append([x])
        for j in range(1, LEVELS):
            for i in range(LEVELS - j):
                below = F.interpolate(chains[i + 1][j - 1], scale_factor=2.0, mode="bilinear", align_corners=True)
                chains[i].append(self.nodes[f"{i}_{j}"](torch.cat([*chains[i], below], 1)))
        return self.head(chains[0][-1])
