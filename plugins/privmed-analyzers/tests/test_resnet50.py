"""ResNet-50: the network that is meant, and that it stands where bare images are, and nowhere else."""

import pytest
import torch

import privmed
from privmed.errors import InputError, SettingsError
from privmed.pipeline import Pipeline, analyze
from privmed.testing import parametrize_with_checks
from privmed.training.make import check_methods
from privmed.training.recipe import make_recipe

pytest.importorskip("monai", reason="needs MONAI (privmed[monai])")


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return privmed.analyzer("resnet50", weights=None, classes=3)


@parametrize_with_checks("analyzer:resnet50", classes=3)
def test_resnet50_conforms(method, check):
    check(method)


def test_it_is_the_published_network(resnet):
    """25,557,032 parameters with 1,000 classes (torchvision's table); MONAI's four projections have biases too."""
    count = sum(p.numel() for p in resnet.parameters())
    assert count == 25_557_032 - 2049 * (1000 - 3) + 256 + 512 + 1024 + 2048


def test_grey_levels_are_centred(resnet):
    image = torch.rand(1, 3, 64, 64)
    assert torch.allclose(resnet.segment(image), resnet.network((image - 0.5) / 0.25), atol=1e-5)


def test_hidden_images_are_refused_wherever_they_come_from(resnet):
    with pytest.raises(SettingsError, match="bare images alone"):
        analyze(resnet)
    with pytest.raises(SettingsError, match="bare images alone"):
        Pipeline.covert("lightih", "resnet50")
    with pytest.raises(InputError, match="bare images alone"):
        resnet.analyze(torch.rand(1, 3, 32, 32))
    plain = {"name": "x", "method": "analyzer:resnet50", "data": {"secrets": [{"folder": "scans"}]}}
    with pytest.raises(SettingsError, match="bare images alone"):
        check_methods(make_recipe({**plain, "task": "covert", "hider": "lightih"}, "recipe"))
    check_methods(make_recipe({**plain, "task": "bare"}, "recipe"))
