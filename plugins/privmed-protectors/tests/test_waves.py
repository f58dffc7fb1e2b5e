"""Waves: their period and direction by hand, what filters leave of them, and what the seed draws."""

import math

import pytest
import torch
from privmed_protectors.noise import Noise, NoiseConfig
from privmed_protectors.waves import BANDS, Waves, WavesConfig

from privmed import registry
from privmed.data.samples import ultrasound_phantom
from privmed.imaging.contour import contour
from privmed.metrics import psnr

EPSILON = 4 / 255


def waves(**settings):
    return Waves(WavesConfig(**{"size": 64, **settings}))


def change(protector, image, mask, **more):
    return (protector.protect(image, mask, **more) - image).mul(255).round().int()


def flat(side=64, channels=1):
    return torch.full((1, channels, side, side), 100 / 255), torch.ones(1, 1, side, side)


def test_four_periods_in_sixteen_pixels_by_hand():
    row = change(waves(), *flat())[0, 0, 0, :16].tolist()
    assert row == [4 if math.cos(2 * math.pi * 4 * (x + 0.5) / 16) >= 0 else -4 for x in range(16)]
    assert row[:8] == [4, -4, -4, 4, 4, -4, -4, 4]
    column = change(waves(direction="y"), *flat())[0, 0, :16, 0].tolist()
    assert column == row


def test_it_is_one_coefficient_of_the_blocks_of_jpeg():
    from scipy.fft import dctn

    block = change(waves(), *flat())[0, 0, 24:32, 40:48].numpy().astype(float)
    power = dctn(block, norm="ortho") ** 2
    assert power[0, 4] > 0.99 * power.sum()


@pytest.mark.parametrize("name", ["blur", "jpeg60", "jpeg30", "median", "grey", "green"])
def test_filters_leave_it(name):
    """On a flat place more than a third of its strength is left, where a checkerboard keeps next to nothing of a blur."""
    image, mask = flat(channels=3)
    published = waves().protect(image, mask).mul(255).round().byte()
    found = registry.part("defence", name).prepare(published).float()
    wave = waves().wave((64, 64), 4, "x")
    left = [float((x * wave)[..., 8:-8, 8:-8].mean()) for x in (published.float(), found)]
    assert left[1] > left[0] / 3


def test_a_notch_finds_it():
    images = torch.full((1, 1, 96, 96), 100.0) + torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 24:72, 24:72] = 1
    published = waves(size=96).protect(images / 255, mask).mul(255).round().byte()
    found = registry.part("defence", "notch").purify(published, mask.byte()).float()
    wave = waves(size=96).wave((96, 96), 4, "x")
    left = [float((x * wave)[..., 32:64, 32:64].mean()) for x in (published.float(), found)]
    assert left[1] < left[0] / 3


def test_lesion_and_outline_are_changed_and_nothing_else_and_all_of_epsilon_is_used():
    image, mask = ultrasound_phantom(0, side=64)
    image = image * 0.9 + 0.05
    found = change(waves(), image, mask)
    acts = (torch.maximum(mask, contour(mask)) > 0).expand_as(found)
    assert not found[~acts].any()
    assert set(found[acts].abs().tolist()) <= {3, 4}
    assert (found[acts].abs() == 4).float().mean() > 0.4


def test_all_channels_are_changed_alike():
    found = change(waves(), *flat(channels=3))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_an_image_too_small_for_the_waves_of_its_size_gets_its_own():
    """Sampled below two pixels a period they would be another, irregular wave."""
    small, own = waves(size=224), waves(size=96)
    assert small.wave((96, 96), 4, "x").equal(own.wave((96, 96), 4, "x"))
    assert small.wave((96, 112), 4, "x").equal(small.wave((112, 112), 4, "x")[:, :96])  # two pixels a period are enough
    assert not small.wave((112, 112), 4, "x").equal(waves(size=112).wave((112, 112), 4, "x"))


def test_waves_are_stretched_with_the_image():
    """Whoever scales images of another size down to ``size`` finds the period that filters leave."""
    large = change(waves(), *flat(128)).float()
    small = torch.nn.functional.avg_pool2d(large, 2)
    assert float((small * waves().wave((64, 64), 4, "x")).mean()) > 2.5
    assert float((large * waves(size=128).wave((128, 128), 4, "x")).mean()) < 1


def test_a_secret_draws_the_band_from_the_seed():
    image, mask = torch.rand(12, 1, 64, 64), torch.ones(12, 1, 64, 64)

    def kinds(**settings):
        found = change(waves(**settings), image * 0.8 + 0.1, mask).sign()
        return [found[i].numpy().tobytes() for i in range(len(found))]

    assert len(set(kinds(secret="set", seed=1))) == 1
    assert {kinds(secret="set", seed=s)[0] for s in range(12)} == {
        change(waves(cycles=c, direction=d), *flat()).sign().numpy().tobytes() for c, d in BANDS
    }
    assert len(set(kinds(secret="image"))) > 1
    assert kinds(secret="image") == kinds(secret="image") != kinds(secret="image", seed=3)


def test_it_needs_no_fit_and_says_what_undoes_it():
    assert not Waves.learns
    assert "takes it out" in waves().note
    image, mask = ultrasound_phantom(0, side=64)
    assert float(psnr(waves().protect(image, mask), image)) > 44


def test_the_control_has_the_same_frequencies_and_no_order():
    """Band-limited noise: as strong, in the same place, as near to the original; its spectrum is that of the waves, spread."""
    image, mask = ultrasound_phantom(0, side=64)
    image = image * 0.9 + 0.05
    control = Noise(NoiseConfig(where="both", pattern="band"))
    likeness = [float(psnr(p.protect(image, mask), image)) for p in (control, waves())]
    assert likeness[0] == pytest.approx(likeness[1], abs=0.3)
    found = change(control, *flat())[0, 0].float()
    power = torch.fft.fft2(found).abs().square()
    radius = (torch.fft.fftfreq(64).view(-1, 1) ** 2 + torch.fft.fftfreq(64) ** 2).sqrt()
    inside = (radius > 0.1) & (radius < 0.28)
    assert float(power[inside].sum() / power.sum()) > 0.6
    assert float(power.max() / power.sum()) < 0.1
    assert not torch.equal(found, change(control, flat()[0] * 0.9, flat()[1])[0, 0].float())
    coloured = change(control, *flat(channels=3))
    assert torch.equal(coloured[:, 0], coloured[:, 2])


def test_waves_along_y_take_the_height():
    assert waves(direction="y").wave((64, 96), 4, "y").shape == (1, 64, 96)
    column = waves(direction="y").wave((64, 96), 4, "y")[0, :, 0]
    assert torch.equal(column, waves().wave((96, 64), 4, "x")[0, 0])
