"""Losses of HiNet and HideMIA, all reduced by the mean, so that they do not depend on batch or image size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from privmed.imaging.wavelets import haar


def soft_dice(logits: Tensor, masks: Tensor, smooth: float = 1e-5) -> Tensor:
    """One minus the Dice coefficient of probabilities, (B,); ``smooth`` keeps empty masks finite."""
    p, y = logits.sigmoid().flatten(1), masks.flatten(1)
    return 1 - (2 * (p * y).sum(1) + smooth) / (p.sum(1) + y.sum(1) + smooth)


def dice_ce(logits: Tensor, masks: Tensor, smooth: float = 1e-5) -> Tensor:
    """Soft Dice plus binary cross-entropy, each averaged over the batch (HideMIA, Eq. 8, L_mia).

    Args:
        logits: (B, 1, H, W), unbounded.
        masks: (B, 1, H, W), 0 or 1.
        smooth: keeps empty masks finite.
    """
    return soft_dice(logits, masks, smooth).mean() + F.binary_cross_entropy_with_logits(logits, masks)


def low_frequency(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of the LL bands (HiNet)."""
    return F.mse_loss(haar(a).ll, haar(b).ll)
