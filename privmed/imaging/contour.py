"""Regions that a mask names: the band around its outline."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def contour(mask: Tensor, kernel: int = 3) -> Tensor:
    """Morphological gradient of a mask, dilation less erosion with a ``kernel`` x ``kernel`` box.

    Half of the band lies outside the region. At the border of the image the mask is continued with its edge values, so a region
    that touches the border has no outline there.

    Args:
        mask: (B, 1, H, W), 0 or 1.
        kernel: odd, at least 3.

    Returns:
        (B, 1, H, W), 0 or 1.

    Reference:
        UMed (Lin et al., IJCAI 2024) uses a contour map y_c without saying how wide it is; 3 fits its published PSNR.
    """
    reach = kernel // 2
    padded = F.pad(mask, (reach,) * 4, mode="replicate")
    dilated = F.max_pool2d(padded, kernel, stride=1)
    eroded = -F.max_pool2d(-padded, kernel, stride=1)
    return dilated - eroded
