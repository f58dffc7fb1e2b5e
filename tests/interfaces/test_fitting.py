"""What a method learns from."""

import pytest
import torch

from privmed.errors import WeightsError
from privmed.interfaces.fitting import Fitting, TrainingPairs


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


def test_a_fit_goes_on_with_its_own_checkpoint_only(tmp_path):
    """Of the same method, settings and images; anything else would give a mixture that nobody fitted."""
    path = tmp_path / "fit.pt"
    mine, other = Fitting(checkpoint=path), Fitting(checkpoint=path)
    mine.of, other.of = "em 4/255 aaaa", "em 8/255 aaaa"
    assert mine.restore() is None
    mine.keep({"round": 3})
    assert mine.restore() == {"round": 3}
    with pytest.raises(WeightsError, match="other settings"):
        other.restore()


def test_batches_hold_every_pair_once_in_an_order_of_the_seed():
    image = torch.rand(1, 32, 32)
    with TrainingPairs([(image, k) for k in range(5)], 32) as pairs:
        orders = [[int(i) for batch in pairs.epoch(2, seed, 0) for i in batch] for seed in (0, 0, 1)]
        assert [len(batch) for batch in pairs.epoch(2, 0, 0)] == [2, 2, 1]
        assert pairs.batch([3, 1])[1].tolist() == [3, 1]
    assert [sorted(order) for order in orders] == 3 * [[0, 1, 2, 3, 4]]
    assert orders[0] == orders[1] != orders[2]
