"""Whether a protected set holds a shortcut: what small windows show of where lesions are."""

import math

import pytest
import torch

from privmed.bench.shortcuts import features, shortcut


@pytest.fixture(scope="module")
def images():
    """Speckle that has nothing to do with the masks, in grey levels."""
    rng = torch.Generator().manual_seed(0)
    return (128 + 20 * torch.randn(8, 1, 48, 48, generator=rng)).round()


@pytest.fixture(scope="module")
def masks():
    """A disc in every image, each elsewhere."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    at = [(14 + 3 * k, 32 - 3 * k) for k in range(8)]
    return torch.stack([((rows - r) ** 2 + (columns - c) ** 2 < 81).float()[None] for r, c in at])


def checkerboard():
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    return 1.0 - 2 * ((rows + columns) % 2)


def test_where_nothing_is_to_be_seen_nothing_is(images, masks):
    assert shortcut(images, masks) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("strength", [20.0, -20.0])
def test_a_pattern_inside_is_seen_by_its_strength(images, masks, strength):
    assert shortcut(images + strength * checkerboard() * masks, masks) > 0.95


@pytest.fixture(scope="module")
def sides():
    """All that lies left of some column: few pixels see the edge."""
    return torch.stack([(torch.arange(48) < c).float().expand(1, 48, 48) for c in range(20, 28)])


def test_a_pattern_whose_sign_is_all_that_differs_is_seen(images, sides):
    """As strong inside as outside: only what it looks like tells."""
    assert shortcut(images - 128 + 30 * (2 * sides - 1), sides) > 0.95


def test_what_is_different_in_each_image_is_no_shortcut(images, sides):
    """The same pattern, turned over in half of the images: what was learnt on some says nothing of others."""
    signs = torch.tensor([1.0, 1, -1, -1, 1, 1, -1, -1]).view(-1, 1, 1, 1)  # each half holds both
    assert shortcut(images - 128 + 30 * signs * (2 * sides - 1), sides) < 0.7


def test_it_is_judged_on_images_that_were_not_seen(images, masks):
    """Two lesions, of which one is brighter and the other darker than what is around it."""
    signs = torch.tensor([1.0, -1]).view(-1, 1, 1, 1)
    assert shortcut(images[:2] + 60 * signs * masks[:2], masks[:2]) < 0.3


def test_colour_counts_and_the_seed_decides(images, masks):
    colour = images.expand(-1, 3, -1, -1).clone()
    colour[:, 1:2] += 30 * (2 * masks - 1)
    assert shortcut(colour, masks) > 0.95
    assert shortcut(images, masks, seed=1) == shortcut(images, masks, seed=1) != shortcut(images, masks, seed=2)


def test_sets_that_cannot_be_told_from(images, masks):
    assert math.isnan(shortcut(images[:1], masks[:1]))
    assert math.isnan(shortcut(images, torch.zeros_like(masks)))
    assert shortcut(torch.full_like(images, 7), masks) == 0.5
    few = torch.zeros_like(masks)
    few[..., 20, 20:29] = 1  # nine pixels
    assert math.isnan(shortcut(images, few))
    assert math.isnan(shortcut(images, 1 - few))
    assert math.isnan(shortcut(images.where(images < 150, math.nan), masks))


def test_features_by_hand():
    """A constant image has nothing but its mean: 5 times the grey level in the first coefficient, and the logarithm of its square."""
    seen = features(torch.full((1, 20, 20), 3.0))
    assert seen.shape == (50, 400)
    torch.testing.assert_close(seen[0], torch.full((400,), 15.0))
    torch.testing.assert_close(seen[1:25], torch.zeros(24, 400), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[25], torch.full((400,), math.log(225.01)))
    torch.testing.assert_close(seen[26:].exp(), torch.full((24, 400), 0.01), atol=1e-4, rtol=0)
