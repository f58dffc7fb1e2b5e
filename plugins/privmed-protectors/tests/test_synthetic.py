"""Noise without a network (LSP, AR): one pattern or process a class, and fresh draws of it."""

import numpy as np
import pytest
import torch
from privmed_protectors.ar import autoregress
from privmed_protectors.regions import by_class

import privmed

SIDE = 64


def noise_of(name, labels, **settings):
    """What is added to even images of these classes, (B, 3, 64, 64)."""
    levels = torch.linspace(0.4, 0.6, len(labels)).view(-1, 1, 1, 1)  # images that differ draw differently
    images = levels.expand(-1, 3, SIDE, SIDE).contiguous()
    return privmed.protector(name, **settings).protect(images, torch.tensor(labels), levels=None) - images


def test_the_patches_of_lsp_are_alike_within_a_class_and_differ_between_classes():
    change = noise_of("lsp", [0, 0, 1, 1, 2], size=SIDE, separation=1e3).sign()
    alike = lambda a, b: float((change[a] == change[b]).float().mean())  # noqa: E731
    assert alike(0, 1) > 0.95
    assert alike(2, 3) > 0.95
    for a, b in ((0, 2), (0, 4), (2, 4)):
        assert alike(a, b) == pytest.approx(0.5, abs=0.15)


def test_lsp_draws_afresh_for_every_image():
    """With little separation the class is in the mean of many draws alone."""
    one, two = noise_of("lsp", [0, 0], size=SIDE, separation=1e-3)
    assert float((one.sign() == two.sign()).float().mean()) == pytest.approx(0.5, abs=0.15)


def innovations(b, noise):
    """What a process does not foretell of a pattern, as part of it (medians: cut values are rare)."""
    kernel = b.clone()
    kernel[:, 2, 2] = -1
    left = torch.nn.functional.conv2d(noise.double()[None], kernel[:, None], groups=3)
    return float(left.abs().median() / noise.abs().median())


def test_each_class_of_ar_is_one_process():
    """Its own filter foretells every value, those of the others do not."""
    labels = [0, 0, 1, 1, 2, 2]
    noise = noise_of("ar", labels, norm="l2", classes=3)
    processes = privmed.protector("ar", classes=3).coefficients
    for label, pattern in zip(labels, noise):
        for k, b in enumerate(processes):
            left = innovations(b, pattern)
            assert left < 1e-4 if k == label else left > 0.1
    assert not torch.allclose(noise[0], noise[1], atol=1e-3), "two images have the same draw"


def test_a_lesion_is_class_1_and_the_background_class_0():
    zeros, ones = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    mask = (torch.arange(128) % 3 == 0).float().view(2, 1, 8, 8)
    assert torch.equal(by_class([zeros, ones], mask), mask.expand(2, 3, 8, 8))
    assert by_class([zeros, ones], torch.tensor([1, 0])).mean((1, 2, 3)).tolist() == [1, 0]


@pytest.mark.parametrize(("name", "settings"), [("lsp", {"size": SIDE, "separation": 1e3}), ("ar", {})])
def test_lesion_and_background_are_the_two_classes(name, settings):
    """What lies inside a mask is as in an image that is all lesion, what lies outside as in one without any; the two differ."""
    image, mask = torch.full((1, 3, SIDE, SIDE), 0.5), torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 16:48, 8:40] = 1
    protector = privmed.protector(name, **settings)
    part, full, none = (
        protector.protect(image, m) - image for m in (mask, torch.ones_like(mask), torch.zeros_like(mask))
    )
    inside = mask.bool().expand_as(image)
    assert torch.equal(part[inside], full[inside])
    assert torch.equal(part[~inside], none[~inside])
    assert float((full.sign() == none.sign()).float().mean()) < 0.7


def test_ar_runs_in_raster_order_over_a_window_of_its_past():
    """By hand: each value is the sum of the three above left to right, and the two before it in its row."""
    b = np.zeros((1, 3, 3))
    b[0, 0], b[0, 1], b[0, 2, :2] = (0.1, 0.2, 0.3), (-0.1, 0.4, 0.05), (0.2, -0.3)
    start = np.random.default_rng(0).normal(size=(1, 6, 7))
    s = start.copy()
    for i in range(4):
        for j in range(5):
            s[0, i + 2, j + 2] = (b[0] * s[0, i : i + 3, j : j + 3]).sum()
    np.testing.assert_allclose(autoregress(b, start), s, atol=1e-12)


@pytest.mark.parametrize("name", ["lsp", "ar"])
def test_the_ball_in_which_single_pixels_exceed_epsilon_is_told(name):
    assert privmed.protector(name).note == ""
    assert "single pixels change by up to 4 times that" in privmed.protector(name, norm="l2").note
