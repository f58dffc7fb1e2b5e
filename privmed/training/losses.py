"""Losses of HiNet and HideMIA, all reduced by the mean, so that they do not depend on batch or image size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.imaging.labels import one_hot
from privmed.imaging.wavelets import haar


def soft_dice(logits: Tensor, masks: Tensor, smooth: float = 1e-5) -> Tensor:
    """One minus the Dice coefficient of probabilities, (B,); ``smooth`` keeps empty masks finite."""
    p, y = logits.sigmoid().flatten(1), masks.flatten(1)
    return 1 - (2 * (p * y).sum(1) + smooth) / (p.sum(1) + y.sum(1) + smooth)


def dice_ce(logits: Tensor, masks: Tensor, smooth: float = 1e-5) -> Tensor:
    """Soft Dice plus binary cross-entropy, each averaged over the batch (HideMIA, Eq. 8, L_mia).

    An empty mask has no Dice to speak of (its soft Dice stays at 0 until hardly anything is marked), so its loss is the cross-entropy.

    Args:
        logits: (B, 1, H, W), unbounded.
        masks: (B, 1, H, W), 0 or 1.
        smooth: keeps the Dice of the faintest outputs finite.
    """
    dice = torch.where(masks.flatten(1).any(1), soft_dice(logits, masks, smooth), 0)
    return dice.mean() + F.binary_cross_entropy_with_logits(logits, masks)


def dice_ce_classes(logits: Tensor, labels: Tensor, smooth: float = 1e-5) -> Tensor:
    """The same for several classes: soft Dice, averaged over the classes that an image has, plus cross-entropy.

    Args:
        logits: (B, K, H, W), unbounded.
        labels: (B, 1, H, W), the number of the class of each pixel.
        smooth: as for :func:`dice_ce`.
    """
    p, y = logits.softmax(1).flatten(2), one_hot(labels, logits.shape[1]).flatten(2)
    dice = 1 - (2 * (p * y).sum(2) + smooth) / (p.sum(2) + y.sum(2) + smooth)
    occurs = (y.sum(2) > 0).float()
    return ((dice * occurs).sum(1) / occurs.sum(1)).mean() + F.cross_entropy(logits, labels[:, 0].long())


def task_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """L_mia of HideMIA, Eq. 8: Dice and cross-entropy of a mask, cross-entropy alone of a class."""
    if logits.ndim == 2:
        return F.cross_entropy(logits, truth)
    return dice_ce(logits, truth) if logits.shape[1] == 1 else dice_ce_classes(logits, truth)


def smoothness(images: Tensor, strength: float = 1.0, side: int = 5, floor: float = 4 / 255) -> Tensor:
    """Where a change is easily found: high where an image is smooth, low where it is textured, mean 1, (B, 1, H, W).

    The inverse of the standard deviation of each pixel's surroundings, the usual first guess of what a change costs in steganography.

    Args:
        images: (B, C, H, W) in [0, 1].
        strength: exponent; 0 gives 1 everywhere.
        side: of the surroundings, odd.
        floor: standard deviation that is added to each, so that flat places cost no more than the noise of a camera.
    """
    grey = F.pad(images.float().mean(1, keepdim=True), [side // 2] * 4, mode="reflect")
    mean, square = (F.avg_pool2d(x, side, 1) for x in (grey, grey.square()))
    cost = ((square - mean.square()).clamp_min(0).sqrt() + floor) ** -strength
    return cost / cost.mean((1, 2, 3), keepdim=True)


def masked_error(found: Tensor, cover: Tensor, strength: float) -> Tensor:
    """Mean squared error of images and the photographs they are to look like, more of it where these are :func:`smooth <smoothness>`."""
    return ((found - cover).square() * smoothness(cover, strength)).mean()


def low_frequency(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of the LL bands (HiNet)."""
    return F.mse_loss(haar(a).ll, haar(b).ll)
