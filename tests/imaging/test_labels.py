"""Classes as colours: far apart, black for the background, exact on the way there and back."""

import pytest
import torch

from privmed.imaging.labels import codes, encode, label_map, one_hot


@pytest.mark.parametrize(
    ("classes", "distance"), [(2, 3**0.5), (3, 2**0.5), (4, 2**0.5), (5, 1), (8, 1), (9, 0.5), (27, 0.5), (64, 1 / 3)]
)
def test_colours_are_as_far_apart_as_promised(classes, distance):
    points = codes(classes)
    assert points.shape == (classes, 3)
    assert points[0].tolist() == [0, 0, 0]
    assert points.min() >= 0
    assert points.max() <= 1
    assert float(torch.cdist(points, points).fill_diagonal_(9).min()) == pytest.approx(distance, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 8, 30])
def test_a_map_comes_back_from_its_image(classes):
    labels = torch.randint(classes, (2, 1, 20, 30), generator=torch.Generator().manual_seed(0)).float()
    image = encode(labels, classes)
    assert image.shape == (2, 3, 20, 30)
    distances = (image[:, None] - codes(classes).view(1, -1, 3, 1, 1)).square().sum(2)
    assert torch.equal(distances.argmin(1, keepdim=True).float(), labels)
    assert torch.equal(label_map(one_hot(labels, classes)), labels)


def test_a_foreground_is_above_a_half():
    assert label_map(torch.tensor([0.2, 0.5, 0.51]).view(1, 1, 1, 3)).flatten().tolist() == [0, 0, 1]
