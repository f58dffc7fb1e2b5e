"""What UMed's generators start from, and that a fresh protector publishes it within its bound."""

import pytest
import torch
from privmed_protectors.noise import Noise, NoiseConfig
from privmed_protectors.regions import PATTERNS, pattern
from privmed_protectors.umed import UMed, UMedConfig, carrier_of

from privmed.data.samples import ultrasound_phantom
from privmed.imaging.contour import contour


def test_patterns_by_hand():
    board = pattern("checkerboard", torch.zeros(1, 1, 2, 3))
    assert board.tolist() == [[[1, -1, 1], [-1, 1, -1]]]
    assert pattern("blue", torch.zeros(1, 3, 2, 2)).flatten().tolist() == [-1, 0, 1]
    assert pattern("red", torch.zeros(1, 3, 2, 2)).flatten().tolist() == [1, -1, -1]
    assert pattern("magenta", torch.zeros(1, 3, 2, 2)).flatten().tolist() == [1, -1, 1]
    grain = pattern("blue-checkerboard", torch.zeros(1, 3, 2, 3))
    assert torch.equal(grain[2:], board)
    assert not grain[:2].any()


@pytest.mark.parametrize("kind", PATTERNS)
def test_no_pattern_is_empty_in_one_channel(kind):
    assert pattern(kind, torch.zeros(1, 1, 4, 4)).abs().min() == 1


def test_each_image_of_a_batch_gets_the_carrier_that_fits_it():
    """A grey image in three channels is tinted, one in colour gets a blue checkerboard, one of a single channel a checkerboard."""
    grey = torch.rand(1, 1, 32, 32)
    batch = torch.cat([grey.expand(-1, 3, -1, -1), torch.rand(1, 3, 32, 32)])
    chosen = carrier_of("auto", batch).expand(2, 3, 32, 32)
    assert torch.equal(chosen[0], pattern("blue", batch).expand(3, 32, 32))
    assert torch.equal(chosen[1], pattern("blue-checkerboard", batch).expand(3, 32, 32))
    assert torch.equal(carrier_of("auto", grey), pattern("checkerboard", grey))
    assert not carrier_of("none", grey).any()
    assert torch.equal(carrier_of("magenta", batch[:1]), pattern("magenta", batch))


def test_blue_is_seen_less_and_jpeg_keeps_most_of_it():
    color = pytest.importorskip("skimage.color")

    def seen(kind, level):
        plain = torch.full((1, 3, 1, 1), level / 255)
        changed = plain + 4 / 255 * pattern(kind, plain)
        a, b = (color.rgb2lab(x.permute(0, 2, 3, 1).double().numpy()) for x in (plain, changed))
        return float(color.deltaE_ciede2000(a, b).squeeze())

    def kept(kind):
        cb, cr = torch.tensor([[-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]) @ pattern(
            kind, torch.zeros(1, 3, 1, 1)
        ).view(3)
        return float(torch.hypot(cb, cr))  # ITU-R BT.601

    for level in (10, 30, 80, 150):
        assert seen("blue", level) < 0.66 * seen("red", level) < seen("magenta", level)
    assert kept("blue") > 0.8 * kept("red")
    squared = {kind: float(pattern(kind, torch.zeros(1, 3, 1, 1)).square().sum()) for kind in ("blue", "red")}
    assert squared == {"blue": 2, "red": 3}


def test_a_tint_is_bounded_by_epsilon_alone_and_grain_by_texture():
    """Each image of a batch by its own carrier, as if it stood alone."""
    grey, mask = ultrasound_phantom(0, side=64)
    colour = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    inside = (mask - contour(mask))[0, 0] > 0
    batch = torch.cat([grey.expand(-1, 3, -1, -1), colour])
    protector = UMed(UMedConfig(width=1))
    tint, grain = protector.bounds(batch, torch.cat([mask, mask]))["texture"]
    assert (tint[0][inside] == protector.config.epsilon).all()
    assert torch.equal(grain, UMed(UMedConfig(width=1, texture="count")).bounds(colour, mask)["texture"][0])
    single = protector.bounds(grey, mask)["texture"][0, 0][inside]
    assert float(single.mean()) < 0.7 * protector.config.epsilon
    plain = UMed(UMedConfig(width=1, carrier="none")).bounds(batch, torch.cat([mask, mask]))["texture"]
    assert torch.equal(
        plain, UMed(UMedConfig(width=1, texture="count")).bounds(batch, torch.cat([mask, mask]))["texture"]
    )


@pytest.mark.parametrize("carrier", ["auto", *PATTERNS, "none"])
def test_the_bound_holds_whatever_the_carrier(carrier):
    torch.manual_seed(0)
    protector = UMed(UMedConfig(width=4, carrier=carrier)).eval()
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    change = (protector.perturb(image, mask) - image).abs().detach()
    assert float(change.max()) <= 4 / 255 + 1e-6
    if carrier != "none":
        assert float(change.max()) > 2 / 255


@pytest.mark.parametrize(("carrier", "left_alone"), [("blue", [1]), ("blue-checkerboard", [0, 1])])
def test_generators_leave_the_channels_alone_that_their_carrier_does(carrier, left_alone):
    """Or a long fit would spend the fidelity that a carrier of fewer channels is chosen for."""
    torch.manual_seed(0)
    protector = UMed(UMedConfig(width=4, carrier=carrier)).eval()
    for generator in protector.generators.values():
        torch.nn.init.normal_(generator.head.weight)
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    change = (protector.perturb(image, mask) - image).detach()
    assert not change[:, left_alone].any()
    assert all(change[:, k].any() for k in {0, 1, 2} - set(left_alone))


def test_without_a_fit_the_carrier_is_published_in_its_bound():
    image, mask = ultrasound_phantom(0, side=64)
    image = image.mul(255).round().div(255).expand(-1, 3, -1, -1)
    protector = UMed(UMedConfig(width=1, size=64, cycles=0, warm_up=0)).fit([(image, mask)])
    change = protector.protect(image, mask) - image
    tint = pattern("blue", image).expand_as(image)
    assert float(change.abs().max()) == pytest.approx(4 / 255, abs=1e-6)
    assert not (change.sign() * tint < 0).any()
    assert not change[:, 1].any()
    lesion = (mask > 0).expand_as(image) & (tint != 0)
    free = (image > 5 / 255) & (image < 1 - 5 / 255)
    assert (change.abs()[lesion & free] > 3.5 / 255).all()


@pytest.mark.parametrize("robust", [False, True])
def test_a_tint_fills_its_bound_so_that_a_fit_adds_nothing(robust):
    """What the documents say of images in colour: they are those of the control that learns nothing."""
    pairs = [ultrasound_phantom(i, side=64) for i in range(2)]
    image = torch.cat([x for x, _ in pairs]).mul(255).round().div(255).expand(-1, 3, -1, -1)
    mask = torch.cat([m for _, m in pairs])
    protector = UMed(UMedConfig(width=2, size=64, batch=2, robust=robust)).fit(zip(image, mask))
    control = Noise(NoiseConfig(where="both", pattern="blue"))
    assert torch.equal(protector.protect(image, mask), control.protect(image, mask))


def test_robust_bounds_the_interior_smoothly():
    """In one channel, where the carrier is grain: JPEG and blur take what changes from pixel to pixel, so the bound must not."""
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
