"""Every recipe that is shipped says what can be trained."""

from pathlib import Path

import pytest

from privmed import registry
from privmed.nn.classifiers import ARCHITECTURES
from privmed.settings import structure
from privmed.training.make import TASKS
from privmed.training.stages import read_stages

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
RECIPES = [
    stage
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    for stage in read_stages(path).stages
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_a_recipe_names_a_method_with_its_settings(recipe):
    kind, _, name = recipe.method.partition(":")
    assert kind == TASKS[recipe.task][0]
    assert recipe.about
    if kind == "classifier":
        assert name in ARCHITECTURES
        return
    structure(registry.load(kind, name).Config, recipe.settings, recipe.method)


@pytest.mark.parametrize("name", ["attention-unet", "cmunext", "transunet", "unet", "unet++", "xnet"])
def test_every_plain_analyzer_has_a_recipe_as_a_pair(name):
    assert any(r.task == "covert" and r.method == f"analyzer:{name}" for r in RECIPES)
