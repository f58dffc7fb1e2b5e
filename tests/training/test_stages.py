"""A training of several stages: what one makes another begins with, and what is done is not done again."""

import importlib
import json

import pytest

from privmed import registry
from privmed.cli import run as command
from privmed.errors import InputError, OutputError, PrivmedError, SettingsError, WeightsError
from privmed.training import read_recipe, run
from privmed.training.stages import in_folder, read_stages

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
    (tmp_path / "out").rename(tmp_path / "moved")
    out = run(staged(), out=tmp_path / "moved", resume=True, quiet=True)
    (tmp_path / "moved").rename(tmp_path / "out")
    assert (out["steps"], out["stages"]) == (6, "hider, server, both")
    assert (tmp_path / "out/hider/checkpoint.pt").stat().st_mtime_ns == first
    assert digest(tmp_path / "out/server", "unet-server.json") == digest(tmp_path / "whole/server", "unet-server.json")
    again = run(staged(), out=tmp_path / "out", resume=True, quiet=True)
    assert (again["steps"], again["seconds"]) == (6, 0)


def test_nothing_is_overwritten_and_no_stage_kept_that_rests_on_an_earlier_state(staged, tmp_path):
    run(staged(), out=tmp_path / "out", quiet=True)
    with pytest.raises(OutputError, match="hider: holds a training already"):
        run(staged(), out=tmp_path / "out", quiet=True)
    longer = ["stages.hider.schedule.steps=3"]
    with pytest.raises(OutputError, match="server: was trained on what stage hider had come to before"):
        run(staged(), overrides=longer, out=tmp_path / "out", resume=True, quiet=True)
    with pytest.raises(SettingsError, match="hider: was trained by another recipe"):
        run(staged(), overrides=["stages.hider.loss.stego=2"], out=tmp_path / "out", resume=True, quiet=True)
    with pytest.raises(SettingsError, match="has been trained for 2 steps, more than the 1 that are asked for"):
        run(staged(), overrides=["schedule.steps=1"], out=tmp_path / "out", resume=True, quiet=True)
    with pytest.raises(InputError, match="nothing to resume, no stage has"):
        run(staged(), out=tmp_path / "other", resume=True, quiet=True)
    (tmp_path / "out/hider/checkpoint.pt").write_bytes(b"cut off")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: cannot be read\. Remove"):
        run(staged(), out=tmp_path / "out", resume=True, quiet=True)


def test_overrides_are_of_all_stages_or_of_one(staged):
    whole = read_stages(staged(), ["schedule.steps=5", "stages.server.schedule.steps=7", "seed=4", "name=other"])
    assert whole.name == "other"
    assert [s.schedule.steps for s in whole.stages] == [5, 7, 5]
    assert {s.seed for s in whole.stages} == {4}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"{{hider}}"}}', '"{{later}}"}}', "'{later}' names no stage before it; there are hider"),
        ("name: server", "name: hider", "two stages have the same name"),
        ("{{name: hider, ", "{{", "a list of settings, each with a name"),
        ("width: 2}}, hider", "width: 2}}, hidden", "stage server: no setting 'hidden_weights'"),
        ('"{{hider}}"}}', '"{{hider:hinet}}"}}', "stage hider trains no hinet; it trains lightih"),
        ('"{{hider}}"}}', '"{{hider:../../x}}"}}', "stage hider trains no ../../x"),
        ("name: three", "name: ../../three", "name"),
        ("method: analyzer:unet", "method: hider:lightih", "trains a method of kind analyzer"),
        ("name: hider,", "name: [hider],", "a list of settings, each with a name"),
        ("width: 2}}\n    start", "wide: 2}}\n    start", "no setting 'wide'"),
    ],
)
def test_mistakes_of_stages_are_told_before_any_work(staged, tmp_path, old, new, words):
    assert old in STAGES
    with pytest.raises(PrivmedError, match=words):
        run(staged(STAGES.replace(old, new, 1)), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["stages.severe.seed=1", "stages=3", "stages.hider=3", "stages.hider=null"])
def test_what_is_no_setting_of_a_stage_is_told(staged, given):
    with pytest.raises(SettingsError, match=r"given as stages\.NAME\.setting=value; there are hider, server, both"):
        read_stages(staged(), [given])


def test_weights_are_found_by_stage_and_method_and_in_lists(staged, tmp_path):
    text = (
        STAGES
        + """  - name: fork
    task: hiding
    method: hider:lightih
    settings: {{blocks: 1}}
    start: "{{both:lightih}}"
    isolate: ["{{hider}}", "{{both:lightih}}"]
"""
    )
    *_, (fork, folder) = in_folder(read_stages(staged(text)).stages, tmp_path / "out")
    own = str(tmp_path / "out/both/lightih-both.safetensors")
    assert (fork.start, fork.isolate) == (own, [str(tmp_path / "out/hider/lightih-hider.safetensors"), own])
    assert folder == tmp_path / "out/fork"


def test_a_list_of_one_stage_has_a_folder_for_it(staged, tmp_path):
    text = STAGES[: STAGES.index("  - {{name: server")]
    out = run(staged(text), out=tmp_path / "out", quiet=True)
    assert (out["name"], out["stages"]) == ("three", "hider")
    assert (tmp_path / "out/hider/lightih-hider.safetensors").is_file()


def test_stages_are_of_one_machine_and_of_no_template(staged, tmp_path):
    with pytest.raises(SettingsError, match="several stages are trained on one machine"):
        run(staged(), out=tmp_path / "out", nodes=2, quiet=True)
    with pytest.raises(SettingsError, match="has several stages, where one is needed"):
        read_recipe(staged())


def test_the_command_trains_all_stages(staged, tmp_path, capsys):
    assert command(["train", str(staged()), "-o", str(tmp_path / "out"), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"] == "hider, server, both"
