"""What UMed's generators start from, and that a fresh protector publishes it within its bound."""

import pytest
import torch
from privmed_protectors.regions import pattern
from privmed_protectors.umed import CARRIER, UMed, UMedConfig, carrier_of

from privmed.data.samples import ultrasound_phantom
from privmed.imaging.contour import contour


def test_patterns_by_hand():
    board = pattern("checkerboard", torch.zeros(1, 1, 2, 3))
    assert board.tolist() == [[1, -1, 1], [-1, 1, -1]]
    assert pattern("red", torch.zeros(1, 3, 2, 2)).flatten().tolist() == [1, -1, -1]
    assert pattern("magenta", torch.zeros(1, 3, 2, 2)).flatten().tolist() == [1, -1, 1]
    assert pattern("red", torch.zeros(1, 1, 2, 2)).flatten().tolist() == [1]


def test_each_image_of_a_batch_gets_the_carrier_that_fits_it():
    """A grey image in three channels is tinted red; one in colour, and one of a single channel, get the checkerboard."""
    grey = torch.rand(1, 1, 32, 32)
    batch = torch.cat([grey.expand(-1, 3, -1, -1), torch.rand(1, 3, 32, 32)])
    chosen = carrier_of("auto", batch).expand(2, 3, 32, 32)
    assert torch.equal(chosen[0], CARRIER * pattern("red", batch).expand(3, 32, 32))
    assert torch.equal(chosen[1], CARRIER * pattern("checkerboard", batch).expand(3, 32, 32))
    assert torch.equal(carrier_of("auto", grey).view(32, 32), CARRIER * pattern("checkerboard", grey))
    assert not carrier_of("none", grey).any()
    magenta = carrier_of("magenta", batch[:1])
    assert torch.equal(magenta, CARRIER * pattern("magenta", batch))


def test_red_lies_in_one_colour_channel_of_jpeg():
    """Of all changes of the same size, it moves Cr most (ITU-R BT.601), so quantisation takes least of it."""
    cr = torch.tensor([0.5, -0.4187, -0.0813])
    assert cr @ pattern("red", torch.zeros(1, 3, 1, 1)).flatten() == pytest.approx(1.0)
    assert cr @ pattern("magenta", torch.zeros(1, 3, 1, 1)).flatten() < 0.9


@pytest.mark.parametrize("carrier", ["auto", "checkerboard", "red", "magenta", "none"])
def test_the_bound_holds_whatever_the_carrier(carrier):
    torch.manual_seed(0)
    protector = UMed(UMedConfig(width=4, carrier=carrier)).eval()
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    change = (protector.perturb(image, mask) - image).abs().detach()
    assert float(change.max()) <= 4 / 255 + 1e-6
    if carrier != "none":
        assert float(change.max()) > 2 / 255


def test_without_a_fit_the_carrier_is_published_in_its_bound():
    image, mask = ultrasound_phantom(0, side=64)
    image = image.mul(255).round().div(255).expand(-1, 3, -1, -1)
    protector = UMed(UMedConfig(width=1, size=64, cycles=0, warm_up=0)).fit([(image, mask)])
    change = protector.protect(image, mask) - image
    red = pattern("red", image).expand_as(image)
    assert float(change.abs().max()) == pytest.approx(4 / 255, abs=1e-6)
    assert not (change.sign() * red < 0).any()
    outline = contour(mask).expand_as(image) > 0
    free = (image > 5 / 255) & (image < 1 - 5 / 255)
    assert (change.abs()[outline & free] > 3.5 / 255).all()


def test_robust_bounds_the_interior_smoothly():
    """JPEG and blur take what changes from pixel to pixel, so the bound of the robust variant must not."""
    image, mask = ultrasound_phantom(0, side=64)
    plain, robust = (
        UMed(UMedConfig(width=1, robust=r)).bounds(image, mask)["texture"] * 255 / 4 for r in (False, True)
    )
    inside = (mask - contour(mask))[0, 0] > 0
    assert float(robust.max()) <= 1
    assert not robust[0, 0][~(mask[0, 0] > 0)].any()
    rough, smooth = (float(b[..., 1:].sub(b[..., :-1])[0, 0][inside[:, 1:]].abs().mean()) for b in (plain, robust))
    assert smooth < rough / 3
    assert float(robust.sum()) > float(plain.sum())
