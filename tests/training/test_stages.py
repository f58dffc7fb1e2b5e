"""A training of several stages: what one makes another begins with, and what is done is not done again."""

import importlib
import json

import pytest

from privmed import registry
from privmed.cli import run as command
from privmed.errors import InputError, OutputError, SettingsError
from privmed.training import read_recipe, run
from privmed.training.stages import read_stages

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

STAGES = """name: three
data: {{root: {data}, covers: photos, secrets: [{{folder: scans}}], crop: 32, size: 32, batch: 2, validation: 0.4}}
schedule: {{steps: 2, validate: 1}}
stages:
  - {{name: hider, task: hiding, method: "hider:lightih", settings: {{blocks: 1}}}}
  - {{name: server, task: covert, method: "analyzer:unet", settings: {{width: 2}}, hider_weights: "{{hider}}"}}
  - name: both
    task: covert
    joint: true
    method: analyzer:unet
    settings: {{width: 2}}
    start: "{{server}}"
    hider_weights: "{{hider}}"
"""


@pytest.fixture
def staged(data, tmp_path):
    def write(text=STAGES):
        path = tmp_path / "stages.yaml"
        path.write_text(text.format(data=data))
        return path

    return write


def cut_off(monkeypatch, stage, step):
    """A training is killed in a stage, after a step."""
    module = importlib.import_module("privmed.training.run")  # not the function of that name
    train = module.train

    def failing(plan, folder, **how):
        def report(done, figures):
            if plan.name == stage and done == step:
                raise KeyboardInterrupt

        return train(plan, folder, **{**how, "report": report})

    monkeypatch.setattr(module, "train", failing)


def digest(folder, name):
    return json.loads((folder / name).read_text())["sha256"]


def test_each_stage_begins_with_what_another_made(staged, tmp_path):
    out = run(staged(), out=tmp_path / "out", quiet=True)
    assert (out["name"], out["steps"], out["stages"]) == ("three", 6, "hider, server, both")
    hider = digest(tmp_path / "out/hider", "lightih-hider.json")
    server = registry.analyzer("unet", weights=tmp_path / "out/server/unet-server.safetensors")
    assert server.card["hider"]["sha256"] == hider
    recipe = read_recipe(tmp_path / "out/both/recipe.yaml")
    assert recipe.start == str(tmp_path / "out/server/unet-server.safetensors")
    both = registry.analyzer("unet", weights=tmp_path / "out/both/unet-both.safetensors")
    assert both.card["hider"]["sha256"] == digest(tmp_path / "out/both", "lightih-both.json") != hider


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(staged, tmp_path, monkeypatch):
    run(staged(), out=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        cut_off(patched, "server", 2)  # after the checkpoint of its first step
        with pytest.raises(KeyboardInterrupt):
            run(staged(), out=tmp_path / "out", quiet=True)
    first = (tmp_path / "out/hider/checkpoint.pt").stat().st_mtime_ns
    out = run(staged(), out=tmp_path / "out", resume=True, quiet=True)
    assert out["stages"] == "server, both"
    assert (tmp_path / "out/hider/checkpoint.pt").stat().st_mtime_ns == first
    assert digest(tmp_path / "out/server", "unet-server.json") == digest(tmp_path / "whole/server", "unet-server.json")
    with pytest.raises(InputError, match="all stages are done"):
        run(staged(), out=tmp_path / "out", resume=True, quiet=True)


def test_nothing_is_overwritten_and_no_stage_kept_that_rests_on_an_earlier_state(staged, tmp_path):
    run(staged(), out=tmp_path / "out", quiet=True)
    with pytest.raises(OutputError, match="hider: holds a training already"):
        run(staged(), out=tmp_path / "out", quiet=True)
    longer = ["stages.hider.schedule.steps=3"]
    with pytest.raises(OutputError, match="server: was trained on what stage hider had come to before"):
        run(staged(), overrides=longer, out=tmp_path / "out", resume=True, quiet=True)
    with pytest.raises(SettingsError, match="hider: was trained by another recipe"):
        run(staged(), overrides=["stages.hider.loss.stego=2"], out=tmp_path / "out", resume=True, quiet=True)
    with pytest.raises(InputError, match="nothing to resume, no stage has"):
        run(staged(), out=tmp_path / "other", resume=True, quiet=True)


def test_overrides_are_of_all_stages_or_of_one(staged):
    _, stages = read_stages(staged(), ["schedule.steps=5", "stages.server.schedule.steps=7", "seed=4"])
    assert [s.schedule.steps for s in stages] == [5, 7, 5]
    assert {s.seed for s in stages} == {4}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"{{hider}}"}}', '"{{later}}"}}', "'{later}' names no stage before it; there are hider"),
        ("name: server", "name: hider", "two stages have the same name"),
        ("{{name: hider, ", "{{", "a list of settings, each with a name"),
        ("width: 2}}, hider", "width: 2}}, hidden", "stage server: no setting 'hidden_weights'"),
    ],
)
def test_mistakes_of_stages_are_told_before_any_work(staged, tmp_path, old, new, words):
    assert old in STAGES
    with pytest.raises(SettingsError, match=words):
        run(staged(STAGES.replace(old, new, 1)), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_stage_that_is_not_there_cannot_be_set(staged):
    with pytest.raises(SettingsError, match="there is no stage severe; there are hider, server, both"):
        read_stages(staged(), ["stages.severe.seed=1"])


def test_stages_are_of_one_machine_and_of_no_template(staged, tmp_path):
    with pytest.raises(SettingsError, match="several stages are trained on one machine"):
        run(staged(), out=tmp_path / "out", nodes=2, quiet=True)
    with pytest.raises(SettingsError, match="has several stages, where one is needed"):
        read_recipe(staged())


def test_the_command_trains_all_stages(staged, tmp_path, capsys):
    assert command(["train", str(staged()), "-o", str(tmp_path / "out"), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"] == "hider, server, both"
