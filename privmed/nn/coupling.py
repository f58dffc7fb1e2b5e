"""The invertible step of HiNet, and a stack of them on the Haar bands of two images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from privmed.imaging.wavelets import from_hinet, haar, inverse_haar, to_hinet
from privmed.nn.dense import DenseBlock

Precision = Callable[[], AbstractContextManager]


class CouplingBlock(nn.Module):
    """One invertible step on the branches of cover and secret (HiNet).

    The sub-networks may run in bfloat16; the coupling itself stays in float32, because the inverse undoes it exactly only if
    both directions add and multiply the same values.

    Args:
        width: channels of each branch, four bands a colour.
        alpha: bound of the log-scale; the scale lies in [exp(-alpha), exp(alpha)].
    """

    def __init__(self, width: int, alpha: float) -> None:
        super().__init__()
        self.phi, self.rho, self.eta = (DenseBlock(width) for _ in range(3))
        self.alpha = alpha

    def forward(self, cover: Tensor, secret: Tensor, precision: Precision = nullcontext) -> tuple[Tensor, Tensor]:
        """Map both branches, each (B, width, H, W), one step towards stego and lost information."""
        cover = cover + self._run(self.phi, secret, precision)
        secret = secret * torch.exp(self.log_scale(cover, precision)) + self._run(self.eta, cover, precision)
        return cover, secret

    def inverse(self, cover: Tensor, secret: Tensor, precision: Precision = nullcontext) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        secret = (secret - self._run(self.eta, cover, precision)) * torch.exp(-self.log_scale(cover, precision))
        cover = cover - self._run(self.phi, secret, precision)
        return cover, secret

    def log_scale(self, x: Tensor, precision: Precision) -> Tensor:
        """``alpha * (2 * sigmoid(rho(x)) - 1)``, written with tanh."""
        return self.alpha * torch.tanh(self._run(self.rho, x, precision) / 2)

    @staticmethod
    def _run(subnet: nn.Module, x: Tensor, precision: Precision) -> Tensor:
        with precision():
            return subnet(x).to(x.dtype)


class InvertibleStack(nn.ModuleList):
    """Coupling blocks on the Haar bands of a cover and a secret, in HiNet's order of bands."""

    def __init__(self, blocks: int, alpha: float, channels: int = 3) -> None:
        super().__init__(CouplingBlock(4 * channels, alpha) for _ in range(blocks))

    def run(self, cover: Tensor, secret: Tensor, blocks: range, precision: Precision) -> tuple[Tensor, Tensor]:
        """Apply the blocks of a range in its order; a range that counts down applies their inverses."""
        for i in blocks:
            step = self[i].forward if blocks.step > 0 else self[i].inverse
            cover, secret = step(cover, secret, precision)
        return cover, secret


def bands(image: Tensor) -> Tensor:
    """Haar bands of (B, C, H, W), stacked as (B, 4C, H/2, W/2) in the memory order convolutions like best."""
    return to_hinet(haar(image)).contiguous(memory_format=torch.channels_last)


def image(stack: Tensor) -> Tensor:
    """Undo :func:`bands`."""
    return inverse_haar(from_hinet(stack))
