"""What the protectors promise beyond the conformance kit."""

import pytest
import torch

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.errors import SettingsError, TrainingError
from privmed.imaging.contour import contour
from privmed.testing.protector_checks import ready

SMALL = {"size": 64, "width": 4, "batch": 4}


def phantoms(count=6, side=64):
    pairs = [ultrasound_phantom(i, side=side) for i in range(count)]
    images = torch.cat([x for x, _ in pairs]).mul(255).round().div(255)
    return images, torch.cat([m for _, m in pairs])


def test_umed_changes_what_eight_bits_can_hold():
    """Its generators must not start silent: an answer of nearly zero rounds to no protection at all."""
    images, masks = phantoms()
    settings = {**SMALL, "batch": 2, "learning_rate": 5e-3, "generator_learning_rate": 5e-3, "cycles": 3}
    protector = privmed.protector("umed", **settings).fit(zip(images, masks))
    change = (protector.protect(images, masks) - images).abs() * 255
    band = contour(masks, 3).bool()
    assert (change[band] >= 1).float().mean() > 0.5
    inside = masks.bool() & ~band
    assert change[inside].mean() < change[band].mean(), "texture limits the bound inside"


@pytest.mark.parametrize(("settings", "region"), [({"texture": "none"}, "contour"), ({"contour": "none"}, "inside")])
def test_umed_ablations_keep_to_their_part(settings, region):
    images, masks = phantoms(2)
    protector = ready(privmed.protector("umed", **SMALL, cycles=1, **settings))
    changed = protector.protect(images, masks) != images
    band = contour(masks, 3).bool()
    outside = ~band if region == "contour" else band | ~masks.bool()
    assert not (changed & outside).any()


@pytest.mark.parametrize("name", ["umed", "em", "tap"])
def test_a_surrogate_that_diverges_says_what_to_change(name):
    images, masks = phantoms(4)
    with pytest.raises(TrainingError, match="Lower its learning rate with --set learning_rate="):
        privmed.protector(name, **SMALL, learning_rate=1e30).fit(zip(images, masks))


def test_generators_that_diverge_say_what_to_change():
    images, masks = phantoms(4)
    with pytest.raises(TrainingError, match="or --set generator_learning_rate="):
        privmed.protector("umed", **SMALL, cycles=1, generator_learning_rate=1e30).fit(zip(images, masks))


def test_lsp_is_one_pattern_at_every_size():
    """Exploiters bring all images to one side; the classes have to be the same there."""
    protector = privmed.protector("lsp", separation=1e3, size=64)  # hardly any draw of its own
    signs = []
    for side in (64, 96):
        image, mask = torch.full((1, 1, side, side), 0.5), torch.ones(1, 1, side, side)
        change = protector.protect(image, mask, levels=None) - image
        signs.append(torch.nn.functional.interpolate(change, (64, 64), mode="nearest").sign())
    assert (signs[0] == signs[1]).float().mean() > 0.9
    assert (signs[0] > 0).float().mean() == pytest.approx(0.5, abs=0.2)


def test_umed_fits_grey_images_of_a_mixed_set_as_it_publishes_them():
    """A colour image in the set must not turn the noise of the grey ones into colour, which they are not published with."""
    images, masks = phantoms(2)
    protector = privmed.protector("umed", **SMALL).eval()
    grey = torch.tensor([True, False])
    coloured = torch.stack([images[0].expand(3, -1, -1), torch.rand(3, 64, 64)])
    seen = protector._published(coloured, masks, grey)
    assert torch.equal(
        seen[0], protector.perturb(coloured[:, :1], masks)[0].expand(3, -1, -1)
    )  # in one batch, so to the bit
    assert torch.allclose(seen[1:], protector.perturb(coloured[1:], masks[1:]), atol=1e-6)


@pytest.mark.parametrize("name", ["umed", "em", "tap", "sep", "lsp"])
@pytest.mark.parametrize("size", [20, 100])
def test_sizes_that_networks_cannot_halve_are_refused(name, size):
    with pytest.raises(SettingsError, match="at least 32 and a multiple of 16"):
        privmed.protector(name, size=size)
