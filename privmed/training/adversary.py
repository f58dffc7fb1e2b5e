"""Networks that learn to tell stegos from covers while a hider learns to fool them: HiDDeN's discriminator, and SRNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.imaging.quantise import quantise
from privmed.nn.convolution import conv_bn_relu
from privmed.nn.srnet import SRNet
from privmed.precision import safe_layout

DETECTOR_WIDTH = 4  # channels of SRNet beside a hider; 16 in its paper


class Adversary(nn.Module):
    """What is trained against a hider. ``forward`` maps images (B, 3, H, W) in [0, 1] to logits (B, 1), high for covers."""

    def own_loss(self, stego: Tensor, cover: Tensor) -> Tensor:
        """What the adversary minimises: covers are 1, stegos 0. No gradient reaches the hider."""
        return verdict(self(cover), 1.0) + verdict(self(stego.detach()), 0.0)

    def hider_loss(self, stego: Tensor, cover: Tensor) -> Tensor:
        """What the hider minimises: its stegos pass for covers. No gradient reaches the adversary."""
        return verdict(self.fixed(stego), 1.0)

    def fixed(self, images: Tensor) -> Tensor:
        """Logits of images, without a gradient to the adversary's parameters or a change of its statistics."""
        tensors = {name: p.detach() for name, p in self.named_parameters()}
        tensors |= {name: b.clone() for name, b in self.named_buffers()}
        return torch.func.functional_call(self, tensors, images)


class Discriminator(Adversary):
    """Three blocks, a mean over the plane and a linear layer (HiDDeN, Sec. 3)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(conv_bn_relu(n, width) for n in (3, width, width)))
        self.last = nn.Linear(width, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.blocks(images).mean((2, 3)))


class Detector(Adversary):
    """SRNet, which looks at the 8-bit files, and at a cover and its stego in one batch, as when it is trained to find what is hidden.

    Args:
        width: channels of its layers without pooling.
    """

    def __init__(self, width: int = DETECTOR_WIDTH) -> None:
        super().__init__()
        self.network = SRNet(3, width)

    def forward(self, images: Tensor) -> Tensor:
        files = 255 * quantise(images.float())
        # In half precision a change of one grey level is lost between two numbers.
        with torch.autocast(files.device.type, enabled=False):
            logits = self.network(files.contiguous(memory_format=safe_layout(files.device)))
        return logits[:, :1] - logits[:, 1:]

    def own_loss(self, stego: Tensor, cover: Tensor) -> Tensor:
        covers, stegos = self(torch.cat([cover, stego.detach()])).chunk(2)
        return verdict(covers, 1.0) + verdict(stegos, 0.0)

    def hider_loss(self, stego: Tensor, cover: Tensor) -> Tensor:
        return verdict(self.fixed(torch.cat([cover, stego])).chunk(2)[1], 1.0)


ADVERSARIES = {"discriminator": Discriminator, "srnet": Detector}


def verdict(logits: Tensor, truth: float) -> Tensor:
    """Cross-entropy of logits whose images are all covers (1) or all stegos (0)."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))
