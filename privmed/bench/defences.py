"""What an exploiter may do to published images to learn from them all the same (UMed, Table 3). Test images stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from privmed import hookimpl
from privmed.bench.contracts import Defence, Loss
from privmed.data.augment import augment
from privmed.imaging.effects import gaussian_blur, jpeg_file
from privmed.settings import at_least, between, setting
from privmed.training.surrogate import signed_descent


class Nothing(Defence):
    """Trains on the images as published."""

    name = "none"


class Blur(Defence):
    """Gaussian blur, 3 x 3, sigma 0.8."""

    name = "blur"

    def prepare(self, images: Tensor) -> Tensor:
        return in_batches(images, gaussian_blur)


class Jpeg60(Defence):
    """JPEG at quality 60, as the caption of UMed's Table 3 has it."""

    name = "jpeg60"
    quality = 60

    def prepare(self, images: Tensor) -> Tensor:
        return in_batches(images, lambda x: jpeg_file(x, self.quality))


class Jpeg30(Jpeg60):
    """JPEG at quality 30, as UMed's text has it."""

    name = "jpeg30"
    quality = 30


class Augment(Defence):
    """Flips, rotation, scale, shift, brightness and contrast, drawn anew for every image."""

    name = "augment"

    def augment(self, images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return augment(images, masks, torch.Generator().manual_seed(int(rng.integers(2**62))))


@frozen(kw_only=True)
class AdversarialConfig:
    """Settings of :class:`Adversarial`."""

    epsilon: float = setting(4 / 255, "largest change of a pixel", between(0, 1))
    steps: int = setting(10, "steps of a quarter epsilon", at_least(1))


class Adversarial(Defence):
    """Adversarial training: projected gradient descent with a random start, on the published images."""

    name = "adversarial"
    Config = AdversarialConfig

    def harden(self, images: Tensor, loss: Loss) -> Tensor:
        epsilon = self.config.epsilon
        start = (torch.rand_like(images) * 2 - 1) * epsilon
        return images + signed_descent(
            lambda changed: -loss(changed), images, start, epsilon=epsilon, step=epsilon / 4, steps=self.config.steps
        )


def in_batches(images: Tensor, change: Callable[[Tensor], Tensor], size: int = 16) -> Tensor:
    """Change uint8 images as floats in [0, 1], and round back."""
    out = [(change(batch.float() / 255) * 255).round().clamp(0, 255).byte() for batch in images.split(size)]
    return torch.cat(out)


@hookimpl
def privmed_register(register):
    for defence in (Nothing, Blur, Jpeg60, Jpeg30, Augment, Adversarial):
        register(defence)
