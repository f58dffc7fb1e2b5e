"""The same seeds give the same marks in every version: what was recorded with the first one."""

import hashlib

import numpy as np
import pytest
import torch

import privmed
from privmed.testing.watermarker_checks import sample_logo

RECORDED = {  # channels, where, seed: digest of the pixels, place, queries
    (1, "anywhere", 0): ("ff4e1fe08d56d528", (2, 11, 18, 12), 162),
    (1, "anywhere", 5): ("15dee1d50abef133", (53, 32, 18, 12), 173),
    (1, "outside", 0): ("a480fc90304d7ea5", (53, 48, 18, 12), 114),
    (1, "outside", 5): ("71bec98b62860f11", (50, 41, 18, 12), 101),
    (1, "inside", 0): ("062f4e0b3e0243fd", (29, 1, 18, 12), 114),
    (1, "inside", 5): ("b862e666c5bab9ee", (19, 15, 18, 12), 128),
    (3, "anywhere", 0): ("1abd250ffd67d6e4", (38, 6, 18, 12), 161),
    (3, "anywhere", 5): ("7c703d27baa34131", (48, 6, 18, 12), 176),
    (3, "outside", 0): ("54851210873c6b24", (48, 49, 18, 12), 114),
    (3, "outside", 5): ("2e7fe34d6e485ebc", (6, 42, 18, 12), 97),
    (3, "inside", 0): ("86db79cbf202ed3c", (25, 8, 18, 12), 119),
    (3, "inside", 5): ("2e7f94aa38f4facf", (51, 2, 18, 12), 123),
}


def whole_numbers(images):
    """An oracle of integer arithmetic, which is the same on every machine."""
    values = (images * 255).round().to(torch.int64).mul(torch.arange(images.shape[-1])).sum((1, 2, 3))
    p = 0.5 + (values % 997).double() / 4000
    return torch.stack([p, 0.7 * (1 - p), 0.3 * (1 - p)], 1)


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("where", ["anywhere", "outside", "inside"])
@pytest.mark.parametrize("channels", [1, 3])
def test_default_settings_give_the_marks_of_the_first_version(channels, where, seed):
    values = np.random.default_rng(channels).integers(0, 200, (1, channels, 64, 72))
    region = torch.zeros(1, 1, 64, 72)
    region[..., 10:40, 30:60] = 1
    given = {"anywhere": {}, "outside": {"forbidden": region}, "inside": {"target": region}}[where]
    image = torch.from_numpy(values).float() / 255
    made = privmed.watermarker("medlocker").embed(image, sample_logo(), whole_numbers, 0, generator=seed, **given)
    pixels = (made.image * 255).round().byte().numpy()
    found = (hashlib.sha256(pixels.tobytes()).hexdigest()[:16], tuple(made.record["place"]), made.queries)
    assert found == RECORDED[channels, where, seed]
