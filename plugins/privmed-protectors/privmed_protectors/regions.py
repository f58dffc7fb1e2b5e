"""Where noise may go, and what half of a mask a class-wise pattern belongs to."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.imaging.contour import contour

TINTS = {"blue": (-1.0, 0.0, 1.0), "red": (1.0, -1.0, -1.0), "magenta": (1.0, -1.0, 1.0)}
BOARDS = {"checkerboard": (1.0, 1.0, 1.0), "blue-checkerboard": (0.0, 0.0, 1.0)}
PATTERNS = (*BOARDS, *TINTS)
WHERE = ("image", "roi", "contour", "both")


def tasks_of(where: str) -> tuple[str, ...]:
    """What can be protected by noise that keeps to a region: class numbers have none but the whole image."""
    return ("segmentation", "classification") if where == "image" else ("segmentation",)


def region(where: str, image: Tensor, mask: Tensor, kernel: int = 3) -> Tensor:
    """The region of that name, (B or 1, 1, H or 1, W or 1), 0 or 1: the whole image, the ROI, the band around its outline, or
    the ROI together with that band (the support of UMed).

    Class numbers name no region: then it is the whole image. ``kernel`` is the side of the box that makes the band.
    """
    if where == "image" or mask.ndim == 1:
        return torch.ones(1, 1, 1, 1, device=image.device)
    if where == "both":
        return torch.maximum(mask, contour(mask, kernel))
    return mask if where == "roi" else contour(mask, kernel)


def by_class(patterns: list[Tensor], mask: Tensor) -> Tensor:
    """Compose class-wise patterns: inside and outside the ROI (patterns 1 and 0), or one pattern an image.

    Args:
        patterns: one (B, C, H, W) a class.
        mask: (B, 1, H, W), 0 or 1; or class numbers (B,).
    """
    if mask.ndim == 4:
        return mask * patterns[1] + (1 - mask) * patterns[0]
    return torch.stack([patterns[int(k)][i] for i, k in enumerate(mask)])


def pattern(kind: str, image: Tensor) -> Tensor:
    """Something of amplitude 1 that no scan contains, and 0 in the channels it leaves alone; broadcasts to (B, C, H, W).

    A checkerboard of single pixels is the finest grain there is, in all channels or in blue alone, where the eye sees it least. A
    tint is a colour. ``"blue"`` (less red, more blue) leaves green alone, on which most of luma hangs: the eye sees it less than two thirds
    as well as ``"red"`` (CIEDE2000), the squared change is two thirds, and JPEG keeps more than four fifths of it (ITU-R BT.601). In one
    channel a checkerboard is a checkerboard, and a tint a change of brightness.
    """
    weights = (TINTS | BOARDS)[kind][: image.shape[1]] if image.shape[1] > 1 else (1.0,)
    weights = image.new_tensor(weights).view(-1, 1, 1)
    if kind in TINTS:
        return weights
    rows, columns = (torch.arange(n, device=image.device) % 2 for n in image.shape[-2:])
    return weights * (1.0 - 2 * (rows.view(-1, 1) ^ columns)).to(image.dtype)
