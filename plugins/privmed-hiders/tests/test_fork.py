"""Relatives of HiNet: the same weights in other coordinates of the cover's detail bands."""

import pytest
import torch
from privmed_hiders.hinet import rotation

from privmed import registry
from privmed.imaging import quantise
from privmed.metrics import ssim
from privmed.testing import sample_images


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def relative(hider, seed):
    other = registry.hider("lightih", weights="broad")
    other.precision = hider.precision
    other.fork(seeded(seed))
    return other


@pytest.fixture(scope="module")
def hider():
    made = registry.hider("lightih", weights="broad")
    made.precision = "float32"
    return made


def test_a_rotation_is_orthogonal_and_leaves_the_coarse_band():
    basis = rotation(3, seeded(0))
    assert torch.allclose(basis @ basis.T, torch.eye(12), atol=1e-6)
    assert basis[:3, :3].equal(torch.eye(3))
    for band in range(1, 4):
        grey = torch.zeros(12)
        grey[3 * band : 3 * band + 3] = 1
        assert torch.allclose((basis @ grey).abs(), grey, atol=1e-6)
    assert not torch.allclose(basis, rotation(3, seeded(1)))


@torch.no_grad()
def test_a_relative_is_the_original_in_other_coordinates(hider):
    """run(x) of the relative is B^T run(B x) of the original on the cover's branch, and the same on the secret's."""
    secret, cover = (torch.rand(1, 3, 48, 40, generator=seeded(n)) for n in range(2))
    basis = rotation(3, seeded(5))
    other = relative(hider, 5)
    state = hider.encode(secret, cover)
    turned = torch.einsum("ij,bjhw->bihw", basis, state[0])
    stego, lost = hider.run((turned, state[1]), 0, hider.stages)
    found = other.run(state, 0, other.stages)
    torch.testing.assert_close(found[0], torch.einsum("ji,bjhw->bihw", basis, stego), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], lost, atol=1e-4, rtol=1e-4)


def test_relatives_hide_as_well_and_read_each_other_badly(hider):
    secret, cover = sample_images(1, size=(96, 96))
    secret = secret.expand(-1, 3, -1, -1)
    one, two = relative(hider, 1), relative(hider, 2)
    stego = quantise(one.hide(secret, cover))
    own = float(ssim(one.recover(stego), secret))
    assert own > 0.8
    for other in (hider, two):
        assert float(ssim(other.recover(stego), secret)) < own - 0.3
