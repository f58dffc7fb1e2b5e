"""Every recipe that is shipped says what can be trained."""

from pathlib import Path

import pytest

from privmed import registry
from privmed.nn.classifiers import ARCHITECTURES
from privmed.settings import structure
from privmed.training import read_recipe
from privmed.training.make import TASKS

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_names_a_method_with_its_settings(path):
    recipe = read_recipe(path)
    kind, _, name = recipe.method.partition(":")
    assert kind == TASKS[recipe.task][0]
    assert recipe.about
    if kind == "classifier":
        assert name in ARCHITECTURES
        return
    structure(registry.load(kind, name).Config, recipe.settings, recipe.method)


@pytest.mark.parametrize("name", ["attention-unet", "cmunext", "transunet", "unet", "unet++", "xnet"])
def test_every_plain_analyzer_has_a_recipe_as_a_pair(name):
    assert any(r.task == "covert" and r.method == f"analyzer:{name}" for r in map(read_recipe, RECIPES))
