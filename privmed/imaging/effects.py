"""What happens to published images on their way: blur and JPEG, differentiable or by the true codec."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import MissingDependencyError, SettingsError
from privmed.imaging.wire import from_bytes, to_bytes


def gaussian_blur(image: Tensor, sigma: float = 0.8, side: int = 3) -> Tensor:
    """Blur (B, C, H, W) with a ``side`` x ``side`` Gaussian; 0.8 is what OpenCV derives for three pixels."""
    at = torch.arange(side, device=image.device, dtype=image.dtype) - side // 2
    line = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(image, (side // 2,) * 4, mode="reflect")
    channels = image.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, side, side), groups=channels)


def jpeg(image: Tensor, quality: float) -> Tensor:
    """JPEG with a gradient (4:2:0, soft rounding), (B, 1 or 3, H, W) in [0, 1]; needs kornia.

    Raises:
        MissingDependencyError: without kornia.
        SettingsError: for a quality outside 1 to 100.
    """
    check_quality(quality)
    try:
        from kornia.enhance import jpeg_codec_differentiable
    except ImportError as error:
        raise MissingDependencyError("differentiable JPEG needs kornia: pip install kornia.") from error
    colour = image.expand(-1, 3, -1, -1)
    height, width = colour.shape[-2:]
    padded = F.pad(colour, (0, -width % 16, 0, -height % 16), mode="replicate")
    coded = jpeg_codec_differentiable(padded, torch.full((len(padded),), float(quality), device=image.device))
    coded = coded[..., :height, :width]
    return coded if image.shape[1] == 3 else coded.mean(1, keepdim=True)


def jpeg_file(image: Tensor, quality: int) -> Tensor:
    """JPEG through a file (Pillow, 4:2:0), as an exploiter would meet it; (B, 1 or 3, H, W) in [0, 1], no gradient.

    Raises:
        SettingsError: for a quality outside 1 to 100.
    """
    check_quality(quality)
    out = []
    for item in image.split(1):
        buffer = io.BytesIO()
        Image.fromarray(to_bytes(item)).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
        with Image.open(buffer) as file:
            out.append(from_bytes(np.array(file)))
    return torch.cat(out).to(image.device)


def check_quality(quality: float) -> None:
    """Refuse a quality outside 1 to 100."""
    if not 1 <= quality <= 100:
        raise SettingsError(f"jpeg: quality must lie in [1, 100], got {quality}.")
