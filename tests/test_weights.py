"""Weights: whole, unaltered, and of this method with these settings, or one sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file

from privmed import registry, weights
from privmed.errors import WeightsError


@pytest.fixture
def saved(toy_hider, tmp_path):
    path = tmp_path / "toy-some.safetensors"
    weights.save(toy_hider, path, data={"set": "x"})
    return path


def test_card_says_what_it_is(saved, toy_hider):
    card = weights.read_card(saved, type(toy_hider))
    assert card["method"] == "hider:toy"
    assert card["config"] == {"strength": 0.1}
    assert card["parameters"] == 1
    assert card["data"] == {"set": "x"}
    assert len(card["sha256"]) == 64


def test_other_methods_weights_are_refused(saved, toy_analyzer):
    with pytest.raises(WeightsError, match="are for hider:toy, not for analyzer:toy"):
        weights.read_card(saved, type(toy_analyzer))


def test_missing_and_broken_cards_are_told(saved, toy_hider):
    card = saved.with_suffix(".json")
    card.write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.read_card(saved)
    card.unlink()
    with pytest.raises(WeightsError, match=r"model card toy-some\.json is missing"):
        weights.read_card(saved)


def test_flipped_bit_and_truncation_are_found(saved, toy_hider):
    card = json.loads(saved.with_suffix(".json").read_text())
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged or was altered"):
        weights.load_into(toy_hider, saved, card)
    saved.write_bytes(data[:20])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        weights.load_into(toy_hider, saved, {**card, "sha256": None})


def test_weights_of_other_settings_are_refused(saved, toy_hider):
    card = weights.read_card(saved)
    toy_hider.extra = torch.nn.Linear(2, 2)
    with pytest.raises(WeightsError, match="2 of 3 tensors differ"):
        weights.load_into(toy_hider, saved, card)


def test_unknown_names_are_answered(toy_hider):
    with pytest.raises(WeightsError, match="no such file, and no bundled weights"):
        weights.locate(type(toy_hider), "nope")


def test_saving_leaves_no_part_behind(saved):
    assert sorted(p.suffix for p in saved.parent.iterdir()) == [".json", ".safetensors"]


def test_weights_of_a_method_whose_name_begins_alike_are_not_its_own():
    ours, keyed = (weights.bundled(registry.load("hider", name)) for name in ("lightih", "lightih-keyed"))
    assert set(ours) == {"broad", "general"}
    assert set(keyed) == {"general"}


def test_values_beyond_half_precision_survive(toy_hider, tmp_path):
    """Variances of batch normalisation may be above 65504, which half precision takes for infinite."""
    path = tmp_path / "toy-wide.safetensors"
    toy_hider.norm = torch.nn.BatchNorm2d(2)
    toy_hider.norm.running_var.copy_(torch.tensor([7e4, 3e9]))
    card = weights.save(toy_hider, path)
    kept = {name: value.dtype for name, value in load_file(path).items() if value.is_floating_point()}
    assert {name for name, kind in kept.items() if kind == torch.float32} == {"norm.running_var"}
    toy_hider.norm = torch.nn.BatchNorm2d(2)
    weights.load_into(toy_hider, path, card)
    assert toy_hider.norm.running_var.tolist() == [7e4, 3e9]
