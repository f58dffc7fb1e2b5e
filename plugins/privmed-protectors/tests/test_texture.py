"""Local binary patterns and texture maps, against scikit-image and by hand."""

import numpy as np
import pytest
import torch
from privmed_protectors.texture import local_binary_pattern, texture_map
from skimage.feature import local_binary_pattern as reference

from privmed.errors import SettingsError


@pytest.mark.parametrize("seed", range(3))
def test_local_binary_pattern_equals_scikit_image(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 6 if seed else 256, (61, 47)).astype(np.float64)
    ours = local_binary_pattern(torch.from_numpy(image)[None, None])[0, 0].numpy()
    assert np.array_equal(ours, reference(image, 8, 1).astype(np.int64))


def test_flat_places_have_no_texture():
    flat = torch.full((1, 1, 40, 40), 0.5)
    for kind in ("code", "count", "transitions"):
        assert texture_map(flat, kind).max() == 0
    assert local_binary_pattern(flat)[0, 0, 5, 5] == 255  # the textbook comparison says the opposite


def test_texture_by_hand():
    image = torch.zeros(1, 1, 33, 33)
    image[..., 10, 11] = 1 / 255  # east of (10, 10): bit 0
    image[..., 9, 10] = 1 / 255  # north: bit 2
    assert texture_map(image)[0, 0, 10, 10] * 255 == 5
    assert texture_map(image, "count")[0, 0, 10, 10] == 2 / 8
    assert texture_map(image, "transitions")[0, 0, 10, 10] == 4 / 8
    with pytest.raises(SettingsError, match="texture must be one of"):
        texture_map(image, "fractal")


def test_texture_of_colour_is_that_of_its_luma():
    image = torch.rand(2, 3, 32, 40)
    grey = (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.equal(texture_map(image), texture_map(grey))
