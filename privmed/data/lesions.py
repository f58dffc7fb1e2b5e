"""Where lesions are in images without masks: a trained network says it (MedLocker, step 1)."""

from __future__ import annotations

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor
from torch.nn import functional as F

from privmed import registry
from privmed.errors import SettingsError
from privmed.interfaces import Analyzer
from privmed.interfaces.analyzer import probabilities

SIDE = 224  # of the images that a network sees whose card does not say what it was trained on


@frozen
class Segmenter:
    """A network that marks lesions on bare images.

    Args:
        method: an analyzer trained by the task ``bare``.
    """

    method: Analyzer = field(repr=False)

    def __call__(self, view: Tensor) -> np.ndarray:
        """The lesions of an image (1, 1 or 3, H, W) in [0, 1]: (H, W), 0 or 1.

        The network sees it as it saw its training images, squeezed to their size; what it answers is brought back to the size of the image.
        """
        device = next(self.method.parameters()).device
        side = (self.method.card or {}).get("recipe", {}).get("data", {}).get("size", SIDE)
        small = F.interpolate(view.expand(-1, 3, -1, -1).to(device), (side, side), mode="bilinear", antialias=True)
        with torch.no_grad():
            found = probabilities(self.method.segment(small.clamp(0, 1)))
        return (F.interpolate(found, view.shape[-2:], mode="bilinear") > 0.5)[0, 0].cpu().numpy().astype(np.uint8)


def make_segmenter(chosen: str, device: str) -> Segmenter:
    """The network that is called ``METHOD:WEIGHTS``, weights being a bundled name or a file.

    Raises:
        SettingsError: when it has no weights, was trained behind a hider, or marks no single foreground.
        MethodNotFoundError, WeightsError: when there is no such method, or no such weights.
    """
    name, _, weights = chosen.partition(":")
    if not weights:
        raise SettingsError(
            f"--segmenter {chosen}: expected METHOD:WEIGHTS, e.g. unet:unet-busi.safetensors of privmed train."
        )
    method = registry.create("analyzer", name, weights, device)
    task = (method.card or {}).get("recipe", {}).get("task", "bare")
    if task != "bare":
        raise SettingsError(
            f"--segmenter {chosen}: was trained by the task {task}, behind a hider. Take one of the task bare."
        )
    if getattr(method.config, "classes", 0) or getattr(method.config, "mask_classes", 0):
        raise SettingsError(f"--segmenter {chosen}: tells classes, and a network that marks one foreground is needed.")
    return Segmenter(method)
