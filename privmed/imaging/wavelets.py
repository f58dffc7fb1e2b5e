"""The Haar transform as named sub-bands, those of other wavelets, and the one translation to HiNet's order and signs.

Bands carry the names of this library: the first letter is the filter along the width, the second along the height, so ``lh`` (low along
the width, high along the height) is PyWavelets' ``cH`` and ``hl`` its ``cV``, with PyWavelets' signs.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import MissingDependencyError, SettingsError, did_you_mean


class Subbands(NamedTuple):
    """One level of a 2-D wavelet transform; every band is (B, C, H/2, W/2).

    Example:
        >>> import torch
        >>> from privmed.imaging import Subbands, haar, inverse_haar
        >>> bands = haar(torch.rand(1, 3, 32, 48))
        >>> bands.ll.shape
        torch.Size([1, 3, 16, 24])
        >>> smooth = inverse_haar(bands._replace(hh=torch.zeros_like(bands.hh)))
    """

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

    Example:
        >>> import torch
        >>> from privmed.imaging import haar
        >>> bands = haar(torch.full((1, 1, 32, 32), 0.5))  # a flat image has its whole energy in ll
        >>> bands.ll.unique(), float(bands.hh.abs().max())
        (tensor([1.]), 0.0)
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
    """Undo :func:`haar`; returns (B, C, H, W).

    Example:
        >>> import torch
        >>> from privmed.imaging import haar, inverse_haar
        >>> x = torch.rand(1, 3, 32, 48)
        >>> torch.allclose(inverse_haar(haar(x)), x, atol=1e-6)
        True
    """
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


def analysis(x: Tensor, wavelet: str) -> Subbands:
    """One level of the transform with any orthogonal or biorthogonal wavelet of PyWavelets, the image continued periodically.

    Args:
        x: (B, C, H, W) with even H and W.
        wavelet: its name, e.g. ``"db2"``.

    Returns:
        Bands equal to ``pywt.dwt2(x, wavelet, mode="periodization")``, named as those of :func:`haar`.

    Raises:
        SettingsError: when there is no such wavelet.
        MissingDependencyError: without PyWavelets, for any wavelet but ``"haar"``.
    """
    if wavelet == "haar":
        return haar(x)
    low, high = (x.new_tensor(taps).flip(0) for taps in filter_bank(wavelet)[:2])
    n = len(low)
    before = n // 2 - 1
    after = n - 2 - before
    padded = _continued(x.flatten(0, 1)[:, None], before, after)
    banks = torch.stack([torch.outer(down, across) for across in (low, high) for down in (low, high)])
    bands = F.conv2d(padded, banks[:, None], stride=2).unflatten(0, x.shape[:2])
    return Subbands(*bands.unbind(2))


def synthesis(bands: Subbands, wavelet: str) -> Tensor:
    """Undo :func:`analysis`; returns (B, C, H, W)."""
    if wavelet == "haar":
        return inverse_haar(bands)
    low, high = (bands.ll.new_tensor(taps) for taps in filter_bank(wavelet)[2:])
    n = len(low)
    reach = -(-n // 2)  # whole pairs of pixels that a tap reaches beyond the image
    banks = torch.stack([torch.outer(down, across) for across in (low, high) for down in (low, high)])
    stacked = torch.stack(list(bands), 2).flatten(0, 1)
    height, width = stacked.shape[-2:]
    whole = F.conv_transpose2d(_continued(stacked, reach, reach), banks[:, None], stride=2)
    start = 2 * reach + n // 2 - 1
    x = whole[..., start : start + 2 * height, start : start + 2 * width]
    return x[:, 0].unflatten(0, bands.ll.shape[:2])


def _continued(x: Tensor, before: int, after: int) -> Tensor:
    """Repeat an image (B, C, H, W) periodically beyond its borders, however far."""
    rows, columns = (torch.arange(-before, n + after, device=x.device) % n for n in x.shape[-2:])
    return x[..., rows[:, None], columns]


@functools.cache
def filter_bank(wavelet: str) -> tuple[list[float], ...]:
    """Low and high pass of the analysis, low and high pass of the synthesis, as PyWavelets has them.

    Raises:
        SettingsError, MissingDependencyError: as :func:`analysis`.
    """
    try:
        import pywt
    except ImportError as error:
        raise MissingDependencyError(f"the wavelet {wavelet!r} needs PyWavelets: pip install PyWavelets.") from error
    if wavelet not in pywt.wavelist(kind="discrete"):
        hint = did_you_mean(wavelet, pywt.wavelist(kind="discrete"))
        raise SettingsError(f"no discrete wavelet is called {wavelet!r}; PyWavelets has haar, db2, coif1, ...{hint}")
    return pywt.Wavelet(wavelet).filter_bank
