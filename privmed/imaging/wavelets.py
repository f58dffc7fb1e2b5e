"""The Haar transform as named sub-bands, and the one translation to HiNet's order and signs.

Bands carry the names of this library: the first letter is the filter along the width, the second along the height, so ``lh`` (low along
the width, high along the height) is PyWavelets' ``cH`` and ``hl`` its ``cV``, with PyWavelets' signs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Subbands(NamedTuple):
    """One level of a 2-D wavelet transform; every band is (B, C, H/2, W/2)."""

    ll: Tensor
    lh: Tensor
    hl: Tensor
    hh: Tensor


def haar(x: Tensor) -> Subbands:
    """Transform images into their four orthonormal Haar bands.

    Args:
        x: (B, C, H, W) with even H and W.

    Returns:
        Bands equal to ``pywt.dwt2(x, "haar")``: ``ll = cA, lh = cH, hl = cV, hh = cD``. For x in [0, 1], ``ll`` lies in [0, 2]
        and the others in [-1, 1]; the energy of the bands is that of the image.
    """
    a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    top, bottom, left, right = a + b, c + d, a + c, b + d
    return Subbands(
        ll=(top + bottom) / 2,
        lh=(top - bottom) / 2,
        hl=(left - right) / 2,
        hh=(a - b - c + d) / 2,
    )


def inverse_haar(bands: Subbands) -> Tensor:
    """Undo :func:`haar`; returns (B, C, H, W)."""
    ll, lh, hl, hh = bands
    height, width = ll.shape[-2:]
    x = ll.new_empty(*ll.shape[:-2], 2 * height, 2 * width)
    x[..., 0::2, 0::2] = (ll + lh + hl + hh) / 2
    x[..., 0::2, 1::2] = (ll + lh - hl - hh) / 2
    x[..., 1::2, 0::2] = (ll - lh + hl - hh) / 2
    x[..., 1::2, 1::2] = (ll - lh - hl + hh) / 2
    return x


def to_hinet(bands: Subbands) -> Tensor:
    """Stack bands as HiNet's code does: LL, HL, LH, HH along the channels, with HL and LH negated (B, 4C, H/2, W/2)."""
    return torch.cat([bands.ll, -bands.hl, -bands.lh, bands.hh], dim=1)


def from_hinet(stack: Tensor) -> Subbands:
    """Undo :func:`to_hinet`."""
    ll, hl, lh, hh = stack.chunk(4, dim=1)
    return Subbands(ll=ll, lh=-lh, hl=-hl, hh=hh)
