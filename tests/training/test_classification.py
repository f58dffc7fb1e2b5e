"""Classifiers of ``privmed train``: they learn, and come back as oracles with what is declared about them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.errors import InputError, WeightsError
from privmed.oracles import load_oracle
from privmed.training import run

pytest.importorskip("monai", reason="needs privmed[monai]")
RECIPE = """
name: toy
task: classification
method: classifier:resnet18
data: {secrets: [{folder: toy}], size: 32, crop: 32, batch: 8, validation: 0.3, augment: 0.2}
optimizer: {rate: 1.0e-3, average: 0.5}
schedule: {steps: 20, warmup: 0, validate: 10}
"""


@pytest.fixture
def root(tmp_path):
    """Two classes, told apart by where the image is bright."""
    rng = np.random.default_rng(0)
    for label in ("left", "right"):
        folder = tmp_path / "data/toy" / label
        folder.mkdir(parents=True)
        for i in range(15):  # three of them for testing
            plane = rng.normal(90, 10, (40, 40))
            plane[:14] += 90 * (label == "left")
            Image.fromarray(plane.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def train(root, out, *more, resume=False):
    overrides = [f"data.root={root / 'data'}", *more]
    return run(root / "recipe.yaml", overrides=overrides, out=root / out, quiet=True, resume=resume)


def test_a_classifier_learns_and_comes_back_as_an_oracle(root):
    assert train(root, "run")["accuracy"] > 0.9
    oracle = load_oracle(root / "run/classifier-toy.safetensors")
    assert oracle.classes == ["left", "right"]
    assert oracle.spec.size == 32
    images = torch.full((2, 1, 50, 50), 0.35)
    images[0, :, :17] = 0.7
    assert oracle(images).argmax(1).tolist() == [0, 1]


def test_damaged_weights_are_refused(root):
    train(root, "run", "schedule.steps=2", "schedule.validate=2")
    path = root / "run/classifier-toy.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="damaged"):
        load_oracle(path)
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "method": "hider:hinet"}))
    with pytest.raises(WeightsError, match="not for classifier"):
        load_oracle(path)


def test_data_without_classes_are_refused(root):
    flat = root / "data/toy"
    for path in flat.rglob("*.png"):
        path.rename(flat / f"{path.parent.name}{path.name}")
    with pytest.raises(InputError, match="sub-folder a class"):
        train(root, "run")


def test_resnet50_has_the_parameters_of_the_paper():
    """And 3,840 more: MONAI's shortcuts have biases, which the batch normalisation behind them takes away again."""
    from privmed.nn.classifiers import ARCHITECTURES

    with torch.device("meta"):
        network = ARCHITECTURES["resnet50"](3, 224)
    assert sum(p.numel() for p in network.parameters()) == 23_508_032 + 2_049 * 3 + 3_840
