"""The Haar transform against PyWavelets, and HiNet's order and signs."""

import numpy as np
import pytest
import pywt
import torch

from privmed.errors import SettingsError
from privmed.imaging import Subbands, haar, inverse_haar
from privmed.imaging.wavelets import analysis, from_hinet, synthesis, to_hinet


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 46, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_bands_equal_pywavelets(image):
    ll, (lh, hl, hh) = pywt.dwt2(image.numpy(), "haar")
    for mine, theirs in zip(haar(image), (ll, lh, hl, hh)):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_inverse_is_exact(image):
    torch.testing.assert_close(inverse_haar(haar(image)), image, atol=1e-14, rtol=0)


def test_energy_is_kept(image):
    torch.testing.assert_close(sum(b.square().sum() for b in haar(image)), image.square().sum())


def test_hinet_stack_of_one_cell():
    """a, b, c, d = 1, 2, 3, 4: LL 5, HL 1, LH 2, HH 0 in HiNet's signs."""
    cell = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert to_hinet(haar(cell)).flatten().tolist() == [5, 1, 2, 0]


def test_hinet_order_is_band_major_and_inverted(image):
    bands = haar(image)
    stack = to_hinet(bands)
    assert torch.equal(stack[:, :3], bands.ll)
    assert torch.equal(stack[:, 3:6], -bands.hl)
    assert all(torch.equal(a, b) for a, b in zip(from_hinet(stack), bands))
    assert isinstance(from_hinet(stack), Subbands)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "coif1", "bior2.4", "dmey"])
def test_other_wavelets_equal_pywavelets(image, wavelet):
    """Also where the filter is longer than the image."""
    ll, (lh, hl, hh) = pywt.dwt2(image.numpy(), wavelet, mode="periodization")
    for mine, theirs in zip(analysis(image, wavelet), (ll, lh, hl, hh)):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize("wavelet", ["haar", "db2", "coif1", "bior2.4"])
def test_synthesis_undoes_analysis(image, wavelet):
    torch.testing.assert_close(synthesis(analysis(image, wavelet), wavelet), image, atol=1e-12, rtol=0)


def test_an_unknown_wavelet_is_answered(image):
    with pytest.raises(SettingsError, match="no discrete wavelet is called 'db222'"):
        analysis(image, "db222")
