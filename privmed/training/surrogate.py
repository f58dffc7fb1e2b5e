"""The surrogate: the network a protector learns its noise on, in place of the exploiter's, which it does not know."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.nn.unet import LEVELS, UNet
from privmed.training.losses import soft_dice

Loss = Callable[[Tensor], Tensor]  # images (B, C, H, W) to a loss an image (B,)


class Surrogate(nn.Module):
    """A U-Net for masks; its encoder with a linear head for classes.

    Args:
        classes: 0 for masks.
        width: channels of the first level.
    """

    def __init__(self, classes: int = 0, width: int = 16) -> None:
        super().__init__()
        self.classes = classes
        self.net = UNet(3, 1, width, silent=False)
        if classes:
            del self.net.up, self.net.decoder, self.net.head
            self.head = nn.Linear(width * 2 ** (LEVELS - 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 1 or 3, H, W) to logits: (B, 1, H, W), or (B, classes). H and W must be multiples of 16."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        if not self.classes:
            return self.net(x)
        for level in range(LEVELS):
            x = self.net.down(level, x)
        return self.head(x.mean((2, 3)))


def task_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Loss of each image, (B,): soft Dice plus cross-entropy of a mask, cross-entropy of a class."""
    logits = logits.float()
    if truth.ndim == 1:
        return F.cross_entropy(logits, truth, reduction="none")
    return soft_dice(logits, truth) + F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten(
        1
    ).mean(1)


def signed_descent(
    loss: Loss,
    image: Tensor,
    perturbation: Tensor,
    *,
    epsilon: float,
    step: float,
    steps: int,
    support: Tensor | None = None,
) -> Tensor:
    """Projected signed gradient steps *down* the loss, within epsilon and the range of an image.

    Args:
        loss: maps changed images to a loss an image. Images do not mix in it, so a batch gives what its items give.
        image: clean images, (B, C, H, W) in [0, 1].
        perturbation: where to start, same shape.
        epsilon: largest change.
        step: of each iteration, on the [0, 1] scale.
        steps: iterations.
        support: (B, 1, H, W); no change where it is 0.

    Returns:
        The perturbation, same shape; ``image + perturbation`` lies in [0, 1].

    Reference:
        A. Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """
    for _ in range(steps):
        changed = (image + perturbation).detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(changed).sum(), changed)
        perturbation = (perturbation - step * gradient.sign()).clamp(-epsilon, epsilon)
        perturbation = perturbation if support is None else perturbation * support
        perturbation = (image + perturbation).clamp(0, 1) - image
    return perturbation
