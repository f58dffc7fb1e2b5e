"""Contours and bounds, against scikit-image and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.morphology import dilation, erosion, footprint_rectangle

from privmed.errors import SettingsError
from privmed.imaging.bound import snap
from privmed.imaging.contour import contour
from privmed.imaging.effects import gaussian_blur, jpeg, jpeg_file


def disc(area: float, side: int = 224, centre: float | None = None) -> torch.Tensor:
    y, x = np.mgrid[0:side, 0:side] - ((side - 1) / 2 if centre is None else centre)
    return torch.from_numpy((x**2 + y**2 <= area * side**2 / np.pi).astype(np.float32))[None, None]


def test_contour_of_a_disc():
    assert int(contour(disc(0.09, centre=112)).sum()) == 600  # 1.196 % of 224 x 224
    assert int(contour(disc(0.09)).sum()) == pytest.approx(600, abs=12)  # between two pixels


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_contour_equals_scikit_image_inside(kernel):
    mask = disc(0.05, 80)
    box = footprint_rectangle((kernel, kernel))
    plane = mask[0, 0].numpy()
    assert np.array_equal(contour(mask, kernel)[0, 0].numpy(), dilation(plane, box) - erosion(plane, box))


def test_full_mask_has_no_contour():
    assert contour(torch.ones(1, 1, 40, 40)).sum() == 0


@pytest.mark.parametrize("bound", [4 / 255, 0.0157, 0.02, 1 / 255])
def test_snap_keeps_the_bound_on_the_grid(bound):
    torch.manual_seed(0)
    clean = torch.randint(0, 256, (2, 3, 64, 64)) / 255
    snapped = snap(clean + (torch.rand_like(clean) * 2 - 1) * 0.05, clean, bound, 255)
    levels = snapped.double() * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert (levels.round() - (clean.double() * 255).round()).abs().max() <= int(bound * 255 + 1e-6)
    assert snapped.min() >= 0
    assert snapped.max() <= 1


def test_snap_leaves_what_it_cannot_change():
    clean = torch.rand(1, 1, 32, 32)
    assert torch.equal(snap(clean, clean, 4 / 255, 255), clean)
    assert (snap(clean + 0.1, clean, 1e-4, 255) - clean).abs().max() <= 1e-4 + 1e-6


def test_soft_jpeg_is_near_the_codec_and_has_a_gradient():
    y, x = torch.meshgrid(torch.linspace(0, 6, 45), torch.linspace(0, 5, 51), indexing="ij")
    image = (torch.stack([x.sin(), y.cos(), (x + y).sin()])[None] * 0.4 + 0.5).requires_grad_(True)
    soft, hard = jpeg(image, 60), jpeg_file(image.detach(), 60)
    assert soft.shape == hard.shape == image.shape
    assert (soft - hard).abs().mean() < 0.02
    soft.mean().backward()
    assert 0.1 < float(image.grad.sum()) < 1.1, (
        "a brighter image is a brighter JPEG; soft rounding passes a quarter of it on"
    )
    with pytest.raises(SettingsError, match="quality"):
        jpeg(image, 0)


def test_blur_keeps_flat_images_and_softens_a_point():
    assert torch.allclose(gaussian_blur(torch.full((1, 3, 40, 40), 0.3)), torch.tensor(0.3))
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    blurred = gaussian_blur(point)
    assert blurred.sum() == pytest.approx(1, abs=1e-6)
    assert blurred[..., 16, 16] < 0.5
