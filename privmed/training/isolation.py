"""Isolation: a private fork of a hider, which others of its kind cannot read, and which cannot read them.

Bundled weights are public: whoever installs them reads every stego that was ever hidden with them. A fork is fine-tuned until the image
that the others read out of its stegos says nothing of the scan, and until what it reads out of theirs does not either.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from privmed import registry
from privmed.imaging.quantise import quantise
from privmed.interfaces import Hider
from privmed.metrics import high_pass, outline_correlation, psnr, ssim

SMALLEST = 1e-6  # variance below which an image correlates with nothing


def squared_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Squared correlation over the pixels of each channel, averaged over items and channels; a negative says as much as a positive."""
    a, b = (x.flatten(2) - x.flatten(2).mean(2, keepdim=True) for x in (a, b))
    together = (a * b).mean(2).square()
    return (together / (a.square().mean(2) * b.square().mean(2) + SMALLEST)).mean()


def leak(read: Tensor, secret: Tensor) -> Tensor:
    """How much an image tells of a secret: squared correlations, plain and high-pass, from 0 to 2."""
    return squared_correlation(read, secret) + squared_correlation(high_pass(read), high_pass(secret))


class Isolation:
    """What a hider is kept apart from.

    Args:
        name: of the hiders.
        weights: theirs, bundled names or paths.
        device: where they are put.
        relatives: keep it apart from random relatives of them too (ability ``fork``), every second time from a new one. Forks of other
            institutions begin as such relatives, and two that are kept from the public weights alone end up alike.
    """

    def __init__(self, name: str, weights: list[str], device: torch.device, relatives: bool = False) -> None:
        self.relatives = relatives
        self.others: list[Hider] = [registry.hider(name, weights=w).to(device).requires_grad_(False) for w in weights]

    def loss(self, own: Hider, sent: Tensor, secret: Tensor, cover: Tensor, rng: np.random.Generator) -> Tensor:
        """Leaks in both directions between a hider and one of the others, drawn anew each step.

        Args:
            own: the hider in training.
            sent: its stegos as they arrive, (B, 3, H, W).
            secret, cover: what is hidden in what, (B, 3, H, W).
            rng: which of the others.
        """
        other = self.draw(rng)
        with torch.no_grad():
            theirs = quantise(other.hide(secret, cover))
        return leak(other.recover(sent, clamp=False), secret) + leak(own.recover(theirs, clamp=False), secret)

    def draw(self, rng: np.random.Generator) -> Hider:
        """One of the others, or a new relative of it."""
        other = self.others[rng.integers(len(self.others))]
        if not self.relatives or rng.random() < 0.5:
            return other
        relative = copy.deepcopy(other)
        relative.fork(torch.Generator().manual_seed(int(rng.integers(2**62))))
        return relative

    def measure(self, own: Hider, stego: Tensor, secret: Tensor, cover: Tensor) -> tuple[float, float, float]:
        """The worst SSIM, PSNR and outlines over the others and both directions: who sees most of the secret.

        Two pictures that have nothing to do with one another have an SSIM as well, often 0.2 to 0.4 where both are smooth, and one in other
        tones may have none: outlines tell whether the secret is seen.
        """
        images = []
        for other in self.others:
            images += [other.recover(stego), own.recover(quantise(other.hide(secret, cover)))]
        return tuple(max(float(metric(x, secret)) for x in images) for metric in (ssim, psnr, outline_correlation))
