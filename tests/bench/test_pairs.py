"""Analyzers that the covert suite trains itself."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import yaml
from PIL import Image

from privmed.bench import pairs
from privmed.bench.engine import run_plan
from privmed.bench.plan import read_plan
from privmed.errors import SettingsError

pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")

RECIPE = {
    "name": "pair",
    "task": "covert",
    "method": "analyzer:unet",
    "data": {
        "secrets": [{"folder": "{data}"}],
        "covers": [{"folder": "photos"}],
        "size": 32,
        "crop": 32,
        "batch": 2,
        "validation": 0.4,
    },
    "schedule": {"steps": 3, "warmup": 1, "validate": 2},
}
SETTINGS = {"width": 4}


@pytest.fixture
def plan(tmp_path):
    """A function that writes a plan over six scans and as many photographs, and reads it."""
    rng = np.random.default_rng(0)
    for part in ("scans/images", "scans/masks", "photos"):
        (tmp_path / part).mkdir(parents=True)
    for n in range(6):
        scan = rng.integers(0, 90, (32, 32), np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8 + n : 24] = 255
        Image.fromarray(np.where(mask, 200, scan).astype(np.uint8)).save(tmp_path / f"scans/images/{n}.png")
        Image.fromarray(mask).save(tmp_path / f"scans/masks/{n}.png")
        Image.fromarray(rng.integers(20, 235, (40, 32, 3), np.uint8)).save(tmp_path / f"photos/{n}.png")
    for name in ("scans", "photos"):
        lines = [f"{n}.png,{'test' if n > 4 else 'train'}\n" for n in range(6)]
        (tmp_path / name / "split.csv").write_text("file,split\n" + "".join(lines))

    def write(recipes=(RECIPE,), entries=None, **grid):
        names = [f"recipe-{n}.yaml" for n in range(len(recipes))]
        for name, recipe in zip(names, recipes):
            (tmp_path / name).write_text(yaml.safe_dump(recipe))
        plain = {
            "suite": "covert",
            "data": "scans",
            "entries": entries or [{"label": "unet", "method": "unet", "settings": SETTINGS}],
            "grid": {"hider": ["deepstega"], "cover": ["photos"], **grid},
            "settings": {"size": 32, "covers": 1, "recipes": names},
        }
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plain))
        return read_plan(tmp_path / "plan.yaml")

    return write


def run(plan, tmp_path, **how):
    return run_plan(plan, tmp_path, tmp_path / "out", **how).records


def cards(tmp_path):
    """Of all analyzers in the cache, by their hider."""
    found = [json.loads(p.read_text()) for p in sorted((tmp_path / "out/cache/pairs").glob("*/*/unet-*.json"))]
    return {(c.get("hider") or {}).get("name", ""): c for c in found}


def of(records, **fields):
    return [m for m in records.measurements if all(m.fields.get(k, "") == v for k, v in fields.items())]


def test_an_entry_without_weights_is_trained_once_behind_each_hider_and_on_bare_images(plan, tmp_path, monkeypatch):
    records = run(plan(hider=["none", "deepstega", "hidden"]), tmp_path)
    found = cards(tmp_path)
    assert set(found) == {"", "deepstega", "hidden"}
    assert found[""]["recipe"]["task"] == "bare"
    assert found["hidden"]["recipe"]["settings"] == SETTINGS
    assert found["hidden"]["recipe"]["data"]["secrets"][0]["folder"] == "scans"
    assert {m.dimensions["hider"] for m in of(records, metric="dice") if m.dimensions} == {"deepstega", "hidden"}
    assert len(of(records, metric="ssim", pair="secret-public")) == 2
    monkeypatch.setattr(pairs, "train", None)  # whoever trains again fails
    run(plan(hider=["deepstega"], wire=["jpeg75"]), tmp_path)


def test_another_recipe_or_seed_is_another_training(plan, tmp_path):
    run(plan(), tmp_path, seeds=[0, 1])
    run(plan([{**RECIPE, "optimizer": {"rate": 1e-4}}]), tmp_path)
    assert len(list((tmp_path / "out/cache/pairs").iterdir())) == 3


def test_an_interrupted_training_goes_on_and_ends_where_it_would_have(plan, tmp_path, monkeypatch):
    whole = run(plan(), tmp_path / ".", seeds=[0])
    (tmp_path / "out").rename(tmp_path / "first")
    train = pairs.train

    def killed(recipe, folder, *, report, **how):
        def stop(step, figures):
            report(step, figures)
            if step == 3:
                raise KeyboardInterrupt

        train(recipe, folder, report=stop, **how)

    monkeypatch.setattr(pairs, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run(plan(), tmp_path)
    steps = []
    monkeypatch.setattr(
        pairs, "train", lambda *a, report, **how: train(*a, report=lambda s, f: (steps.append(s), report(s, f)), **how)
    )
    again = run(plan(), tmp_path)
    assert steps == [3, 3]  # reported as a step and with its validation; the checkpoint after step 2 counted
    assert [m.value for m in again.measurements] == [m.value for m in whole.measurements]


def test_of_two_runs_in_one_folder_one_trains_and_the_other_waits_for_it(plan, tmp_path, monkeypatch):
    """Both would write the same files."""
    whole = run(plan(), tmp_path)
    trained = next((tmp_path / "out/cache/pairs").iterdir())
    trained.rename(tmp_path / "other")
    (tmp_path / "out/runs.jsonl").unlink()
    waited = []

    @contextmanager
    def alone(folder, waiting):
        """As long as another run trains in the folder."""
        waited.append(folder)
        shutil.copytree(tmp_path / "other", folder, dirs_exist_ok=True)
        yield

    monkeypatch.setattr(pairs, "alone", alone)
    monkeypatch.setattr(pairs, "train", None)  # whoever trains fails
    again = run(plan(), tmp_path)
    assert waited == [trained]
    assert [m.value for m in again.measurements] == [m.value for m in whole.measurements]


def test_a_second_recipe_begins_with_the_weights_of_the_first_and_may_train_the_hider(plan, tmp_path):
    joint = {**RECIPE, "joint": True, "optimizer": {"rate": 1e-9, "average": 0.0}, "schedule": {"steps": 1}}
    run(plan([RECIPE, joint]), tmp_path)
    [folder] = (tmp_path / "out/cache/pairs").iterdir()
    card = json.loads((folder / "stage-2/unet-stage-2.json").read_text())
    assert card["recipe"]["start"].endswith("unet-stage-1.safetensors")
    assert (folder / "stage-2/deepstega-stage-2.safetensors").is_file()
    assert card["hider"]["weights"] == "stage-2"
    first = json.loads((folder / "stage-1/unet-stage-1.json").read_text())
    assert card["validation"]["dice"] == pytest.approx(first["validation"]["dice"], abs=0.05)


def test_a_wire_changes_what_is_read(plan, tmp_path):
    records = run(plan(wire=["png", "jpeg75"]), tmp_path)
    [clean] = [m for m in of(records, metric="psnr", pair="stego-cover") if "wire" not in m.dimensions]
    [rough] = of(records, metric="psnr", pair="stego-cover", wire="jpeg75")
    assert rough.value < clean.value


@pytest.mark.parametrize(
    ("grid", "recipe", "message"),
    [
        ({"wire": ["jpg75"]}, {}, "there is no 'jpg75'"),
        ({"hider": ["tuned"]}, {}, "the plan's grid must name its hiders"),
        ({}, {"task": "hiding", "method": "hider:lightih"}, "needs a recipe of the task covert, or bare"),
        ({"hider": ["lsbm:general"]}, {}, "lsbm has no weights"),
    ],
)
def test_a_plan_that_cannot_train_is_refused_before_it_does(plan, tmp_path, grid, recipe, message):
    with pytest.raises(SettingsError, match=message):
        run(plan([{**RECIPE, **recipe}], **grid), tmp_path)
    assert not (tmp_path / "out").exists()
