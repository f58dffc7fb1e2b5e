"""What an exploiter may do to published images to learn from them all the same (UMed, Table 3). Test images stay as they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from privmed.data.augment import augment
from privmed.errors import SettingsError
from privmed.imaging.effects import gaussian_blur, jpeg_file

DEFENCES = {
    "none": "trains on the images as published",
    "blur": "Gaussian blur, 3 x 3, sigma 0.8",
    "jpeg60": "JPEG at quality 60",
    "jpeg30": "JPEG at quality 30",
    "augment": "flips, rotation, scale, shift, brightness and contrast, drawn anew for every image",
    "adversarial": "adversarial training: PGD of 10 steps within 4/255, on the published images",
}


def prepare(images: Tensor, defence: str) -> Tensor:
    """What is done to all images once, (N, 1 or 3, S, S) uint8 in and out.

    Raises:
        SettingsError: for a defence that does not exist.
    """
    if defence not in DEFENCES:
        raise SettingsError(f"no defence {defence!r}; there are {', '.join(DEFENCES)}.")
    if defence not in ("blur", "jpeg60", "jpeg30"):
        return images
    out = []
    for batch in images.split(16):
        x = batch.float() / 255
        x = gaussian_blur(x) if defence == "blur" else jpeg_file(x, int(defence[4:]))
        out.append((x * 255).round().clamp(0, 255).byte())
    return torch.cat(out)


def reshape(images: Tensor, masks: Tensor, defence: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """What is drawn anew for every batch; images (B, 3, S, S) in [0, 1], masks (B, 1, S, S)."""
    if defence != "augment":
        return images, masks
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    return augment(images, masks, generator)
