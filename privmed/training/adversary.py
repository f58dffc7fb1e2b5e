"""The adversarial part of HiDDeN's loss: a discriminator that learns to tell stegos from covers while the hider learns to fool it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.nn.convolution import conv_bn_relu


class Discriminator(nn.Module):
    """Three blocks, a mean over the plane and a linear layer (HiDDeN, Sec. 3): images (B, 3, H, W) to logits (B, 1), high for covers."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(conv_bn_relu(n, width) for n in (3, width, width)))
        self.last = nn.Linear(width, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.blocks(images).mean((2, 3)))

    def own_loss(self, stego: Tensor, cover: Tensor) -> Tensor:
        """What the discriminator minimises: covers are 1, stegos 0. No gradient reaches the hider."""
        return verdict(self(cover), 1.0) + verdict(self(stego.detach()), 0.0)

    def hider_loss(self, stego: Tensor) -> Tensor:
        """What the hider minimises: its stegos pass for covers. No gradient reaches the discriminator."""
        fixed = {name: p.detach() for name, p in self.named_parameters()}
        return verdict(torch.func.functional_call(self, fixed, stego), 1.0)


def verdict(logits: Tensor, truth: float) -> Tensor:
    """Cross-entropy of logits whose images are all covers (1) or all stegos (0)."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))
