"""What a method learns from."""

import torch

from privmed.interfaces.fitting import TrainingPairs


def test_grey_sets_stay_grey_and_mixed_ones_are_colour():
    """Noise in colour would be lost on images that are published in grey."""
    grey, colour, mask = torch.rand(1, 40, 40), torch.rand(3, 50, 50), torch.ones(1, 40, 40)
    with TrainingPairs([(grey, mask), (grey[None], mask[None])], 32) as pairs:
        assert pairs.batch([0, 1])[0].shape == (2, 1, 32, 32)
    with TrainingPairs([(grey, mask), (colour, torch.ones(1, 50, 50))], 32) as pairs:
        images, masks = pairs.batch([0, 1])
        assert images.shape == (2, 3, 32, 32)
        assert torch.equal(images[0, 0], images[0, 2])
        assert masks.shape == (2, 1, 32, 32)
