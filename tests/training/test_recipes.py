"""Every recipe that is shipped says what can be trained."""

import json
from pathlib import Path

import pytest

from privmed import registry
from privmed.errors import SettingsError
from privmed.nn.classifiers import ARCHITECTURES
from privmed.settings import merge, structure
from privmed.training.make import TASKS
from privmed.training.recipe import make_recipe
from privmed.training.stages import read_stages

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
RECIPES = [
    stage
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    for stage in read_stages(path).stages
]
PLAIN = {"data": {"secrets": [{"folder": "a"}], "covers": [{"folder": "b"}]}, "name": "x"}


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


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        (
            "covert",
            {"loss": {"worst": 0.3, "scale": "log"}},
            r"loss.scale \(of hiding\), loss.worst \(of hiding\)",
        ),
        ("bare", {"hider": "hinet", "joint": True}, r"hider \(of covert and distillation\), joint \(of covert\)"),
        ("bare", {"loss": {"adversarial": 0.3}}, r"loss.adversarial \(of hiding and covert\)"),
        ("bare", {"data": {"nothing": 0.2}}, r"data.nothing \(of covert\)"),
        ("hiding", {"analyzer": "hidemia"}, r"analyzer \(of distillation\)"),
        (
            "distillation",
            {"isolate": ["general"], "loss": {"worst": 0.1}},
            r"isolate \(of hiding\), loss.worst \(of hiding\)",
        ),
        ("classification", {"data": {"variety": 0.3}}, r"data.variety \(of hiding and distillation\)"),
    ],
)
def test_settings_that_a_task_would_pass_over_are_refused(task, more, words):
    """All at once. What is anyway so may be said."""
    plain = merge({**PLAIN, "task": task, "method": "hider:lightih"}, more)
    with pytest.raises(SettingsError, match=f"task {task} has no use for {words}. Leave that out"):
        make_recipe(plain, "recipe r.yaml")
    make_recipe({**PLAIN, "task": task, "method": "hider:lightih", "joint": False}, "recipe r.yaml")


def test_a_stage_may_share_what_is_of_another(tmp_path):
    """But not have it of its own."""
    path = tmp_path / "two.yaml"
    text = {**PLAIN, "stages": [{"name": "a", "task": "hiding", "method": "hider:lightih"}]}
    path.write_text(json.dumps(merge(text, {"data": {"nothing": 0.2}})))
    assert read_stages(path).stages[0].data.nothing == 0.2
    text["stages"][0]["data"] = {"nothing": 0.2}
    path.write_text(json.dumps(text))
    with pytest.raises(SettingsError, match=r"stage a: task hiding has no use for data.nothing"):
        read_stages(path)
