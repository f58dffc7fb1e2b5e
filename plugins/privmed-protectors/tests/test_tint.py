"""The fixed patterns, and that ``tint`` publishes them within its bound, byte for byte as it was published before it had a name."""

import hashlib

import pytest
import torch
from privmed_protectors.noise import Noise, NoiseConfig
from privmed_protectors.regions import PATTERNS, pattern
from privmed_protectors.texture import texture_map
from privmed_protectors.tint import Tint, TintConfig, pattern_of

from privmed.data.samples import ultrasound_phantom
from privmed.imaging.contour import contour

EPSILON = 4 / 255
KINDS = ("grey", "grey in colour", "colour")
# First halves of the SHA-256 of two phantoms as the former umed[carrier=...] published them without a fit (cycles=0, warm_up=0), at 8 bits
# and at 16; where no carrier is named it was its default.
PUBLISHED = [
    ({}, "grey", "2e4f955850646c9a", "ffcc839b2b52fee3"),
    ({}, "grey in colour", "698d253db50c2767", "a8af63125525875e"),
    ({}, "colour", "7006031b9072bd56", "257d2b77465c462d"),
    ({"texture": "count"}, "grey in colour", "5d5b5c6c7e6a34f0", "64345f3905dbd500"),
    ({"texture": "smooth"}, "grey", "a0f4a5863582e831", "99b0b16d9c73cac4"),  # of robust=true
    ({"epsilon": 8 / 255}, "grey", "12e23f1650df1152", "627edeec936edfe3"),
    ({"epsilon": 8 / 255}, "grey in colour", "101765a5fd09eb47", "a5022d9e18525229"),
    ({"pattern": "red"}, "grey in colour", "c8bd5f765f4e45ce", "0366d1a44e6af529"),
    ({"pattern": "magenta"}, "colour", "999d62707af1cd18", "135ff1adc3873cbf"),
    ({"pattern": "blue-checkerboard"}, "grey in colour", "62567b4e6f46e7cb", "41c5afb599cf3034"),
]


def phantoms(kind="grey"):
    """Two of them with their masks, at 8 bits."""
    pairs = [ultrasound_phantom(i, side=64) for i in range(2)]
    image, mask = (torch.cat(x) for x in zip(*pairs))
    image = image.mul(255).round().div(255)
    if kind == "grey":
        return image, mask
    tone = torch.tensor([1.0, 0.75, 0.5] if kind == "colour" else [1.0, 1.0, 1.0]).view(3, 1, 1)
    return (image * tone).mul(255).round().div(255), mask


def tint(**settings):
    return Tint(TintConfig(**settings))


@pytest.mark.parametrize(("settings", "kind", "eight", "sixteen"), PUBLISHED)
def test_what_was_published_as_the_carrier_of_umed_is_published_byte_for_byte(settings, kind, eight, sixteen):
    image, mask = phantoms(kind)
    for levels, dtype, expected in ((255, torch.uint8, eight), (65535, torch.int32, sixteen)):
        stored = tint(**settings).protect(image, mask, levels=levels).mul(levels).round().to(dtype)
        assert hashlib.sha256(stored.numpy().tobytes()).hexdigest()[:16] == expected


def test_it_needs_no_fit_and_says_what_undoes_it():
    assert not Tint.learns
    assert "whoever averages the channels" in tint().note


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


def test_each_image_of_a_batch_gets_the_pattern_that_fits_it():
    """A grey image in three channels is tinted, one in colour gets a blue checkerboard, one of a single channel a checkerboard."""
    grey = torch.rand(1, 1, 32, 32)
    batch = torch.cat([grey.expand(-1, 3, -1, -1), torch.rand(1, 3, 32, 32)])
    chosen = pattern_of("auto", batch).expand(2, 3, 32, 32)
    assert torch.equal(chosen[0], pattern("blue", batch).expand(3, 32, 32))
    assert torch.equal(chosen[1], pattern("blue-checkerboard", batch).expand(3, 32, 32))
    assert torch.equal(pattern_of("auto", grey), pattern("checkerboard", grey))
    assert torch.equal(pattern_of("magenta", batch[:1]), pattern("magenta", batch))


def test_blue_is_seen_less_and_jpeg_keeps_most_of_it():
    color = pytest.importorskip("skimage.color")

    def seen(kind, level):
        plain = torch.full((1, 3, 1, 1), level / 255)
        changed = plain + EPSILON * pattern(kind, plain)
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
    """Each image of a batch by its own pattern, as if it stood alone."""
    (tinted, mask), (colour, _), (grey, _) = (phantoms(kind) for kind in ("grey in colour", "colour", "grey"))
    inside = (mask - contour(mask))[:1] > 0
    batch, masks = torch.cat([tinted[:1], colour[:1]]), torch.cat([mask[:1], mask[:1]])
    full, grain = tint()._bound(batch, masks).split(1)
    assert torch.equal(full[inside], torch.full_like(full[inside], EPSILON))
    assert torch.equal(grain, tint(texture="count")._bound(colour[:1], mask[:1]))
    assert float(tint()._bound(grey[:1], mask[:1])[inside].mean()) < 0.7 * EPSILON
    assert torch.equal(tint(pattern="red")._bound(colour, mask), tint(texture="full")._bound(colour, mask))


@pytest.mark.parametrize("kind", ["auto", *PATTERNS])
def test_the_bound_holds_and_is_used_whatever_the_pattern(kind):
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.5).float()
    change = (tint(pattern=kind).protect(image, mask, levels=None) - image).abs()
    assert 0.9 * EPSILON < float(change.max()) <= EPSILON + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_is_changed_on_its_outline_and_inside_and_nowhere_else(kind):
    image, mask = phantoms(kind)
    changed = tint().protect(image, mask) != image
    lesion = (mask > 0) | (contour(mask) > 0)
    assert not (changed & ~lesion).any()
    assert changed[lesion.expand_as(changed)].any()
    assert changed[:, -1:][contour(mask) > 0].float().mean() > 0.9


def test_a_tint_is_the_control_of_that_pattern():
    """What the documents say of grey images in colour: they are those of the noise that learns nothing either."""
    image, mask = phantoms("grey in colour")
    control = Noise(NoiseConfig(where="both", pattern="blue"))
    assert torch.equal(tint().protect(image, mask), control.protect(image, mask))


def test_the_smooth_bound_does_not_jump():
    """JPEG and blur take what changes from pixel to pixel, so the bound must not."""
    image, mask = phantoms()
    inside = (mask - contour(mask) > 0)[..., 1:]
    rough, smooth = (texture_map(image, kind) for kind in ("count", "smooth"))
    assert float(smooth.max()) <= 1
    steps = [float(m.diff(dim=-1).abs()[inside].mean()) for m in (rough, smooth)]
    assert steps[1] < steps[0] / 3
    assert float((smooth * mask).sum()) > float((rough * mask).sum())
