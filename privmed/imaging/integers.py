"""Images as integers of a file's depth, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_integers(image: Tensor, max_value: int = 255) -> np.ndarray:
    """A tensor (1, C, H, W) in [0, 1] as integers (H, W) or (H, W, 3): uint8 up to 255, else uint16."""
    values = (image[0].detach().cpu().double() * max_value).round().numpy()
    values = np.moveaxis(values, 0, 2) if len(values) == 3 else values[0]
    return values.astype(np.uint8 if max_value <= 255 else np.uint16)


def to_tensor(values: np.ndarray, max_value: int = 255) -> Tensor:
    """The inverse of :func:`to_integers`, float32."""
    planes = np.moveaxis(values, 2, 0) if values.ndim == 3 else values[None]
    return torch.from_numpy(planes.astype(np.float32))[None] / max_value
