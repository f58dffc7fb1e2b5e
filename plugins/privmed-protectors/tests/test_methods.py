"""What the protectors promise beyond the conformance kit."""

import pytest
import torch

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.errors import TrainingError
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
    settings = {**SMALL, "batch": 2, "rate": 5e-3, "generator_rate": 5e-3, "cycles": 3}
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
    with pytest.raises(TrainingError, match="Lower its learning rate with --set rate="):
        privmed.protector(name, **SMALL, rate=1e30).fit(zip(images, masks))


def test_generators_that_diverge_stay_within_the_bound():
    """Their tanh saturates where another network would overflow."""
    images, masks = phantoms(4)
    protector = privmed.protector("umed", **SMALL, cycles=1, warm_up=1, generator_rate=1e30).fit(zip(images, masks))
    assert (protector.protect(images, masks) - images).abs().max() <= 4 / 255 + 1e-6
