"""Analyzers that tell classes, in the covert suite: trained, judged, and refused where they do not fit."""

import numpy as np
import pytest
import torch
import yaml
from attrs import evolve
from PIL import Image

from privmed.bench.answers import Classes, Labels, classes_of
from privmed.bench.data import Dataset, Sample
from privmed.bench.engine import run_plan
from privmed.bench.metrics import Accuracy
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
        "batch": 4,
        "validation": 0.4,
    },
    "schedule": {"steps": 30, "warmup": 1, "validate": 30},
    "optimizer": {"name": "adam", "rate": 1e-2, "average": 0.5},
}


@pytest.fixture
def plan(tmp_path):
    """A function that writes a plan over bright and dark scans, and reads it."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    lines = []
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for n in range(6):
            Image.fromarray(rng.integers(level, level + 30, (32, 32), np.uint8)).save(
                tmp_path / f"scans/{name}/{n}.png"
            )
            lines.append(f"{name}/{n}.png,{'test' if n > 3 else 'train'}\n")
    (tmp_path / "scans/split.csv").write_text("file,split\n" + "".join(lines))
    for n in range(6):
        Image.fromarray(rng.integers(20, 235, (40, 32, 3), np.uint8)).save(tmp_path / f"photos/{n}.png")
    (tmp_path / "photos/split.csv").write_text(
        "file,split\n" + "".join(f"{n}.png,{'test' if n > 3 else 'train'}\n" for n in range(6))
    )

    def write(data="scans", recipe=None, **settings):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **(recipe or {})}))
        plain = {
            "suite": "covert",
            "data": data,
            "entries": [{"label": "unet", "method": "unet", "settings": {"width": 4, **settings}}],
            "grid": {"hider": ["none", "deepstega"], "cover": ["photos"]},
            "settings": {"size": 32, "covers": 2, "recipes": ["recipe.yaml"]},
        }
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plain))
        return read_plan(tmp_path / "plan.yaml")

    return write


def test_classes_are_trained_and_judged_bare_and_behind_a_hider(plan, tmp_path):
    records = run_plan(plan(classes=2), tmp_path, tmp_path / "out").records
    found = {(m.metric, m.dimensions.get("hider")): m for m in records.measurements if not m.dimensions.get("pair")}
    everywhere = {(metric, hider) for metric in ("accuracy", "auc") for hider in (None, "deepstega")}
    assert set(found) == everywhere | {("accuracy-together", "deepstega"), ("disagreement", "deepstega")}
    assert all(m.n == 4 for m in found.values())
    assert found["accuracy", None].value == 1
    assert found["auc", None].value == 1
    assert all(0 <= m.value <= 1 for m in found.values())
    assert {m.metric for m in records.measurements if m.dimensions.get("pair") == "response-cover"} == {
        "psnr",
        "psnr-y",
        "ssim",
    }


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"classes": 3}, "has 2: bright, dark"),
        ({}, "no masks"),
        ({"mask_classes": 3}, "has no masks that hold their numbers"),
    ],
)
def test_answers_that_nothing_can_judge_are_refused_before_any_training(plan, tmp_path, settings, told):
    with pytest.raises(SettingsError, match=told):
        run_plan(plan(**settings), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out/cache/pairs").exists()


def test_masks_of_several_classes_are_trained_and_judged_each(plan, tmp_path):
    """Left a bright band, right a brighter one: numbers 1 and 2; the second is missing in one test image."""
    for part in ("images", "masks", "masks-multi"):
        (tmp_path / "bands" / part).mkdir(parents=True)
    rng = np.random.default_rng(1)
    for n in range(6):
        numbers = np.zeros((32, 32), np.uint8)
        numbers[:, 4:12] = 1
        numbers[:, 20:28] = 0 if n == 5 else 2
        scan = (20 + 100 * numbers + rng.integers(0, 10, (32, 32))).astype(np.uint8)
        for part, plane in (("images", scan), ("masks", (numbers > 0) * np.uint8(255)), ("masks-multi", numbers)):
            Image.fromarray(plane).save(tmp_path / f"bands/{part}/{n}.png")
    lines = [f"{n}.png,{'test' if n > 3 else 'train'}\n" for n in range(6)]
    (tmp_path / "bands/split.csv").write_text("file,split\n" + "".join(lines))
    many = {"data": {**RECIPE["data"], "secrets": [{"folder": "{data}", "masks": "masks-multi"}]}}
    of = plan("bands", recipe={**many, "schedule": {"steps": 80, "warmup": 1, "validate": 80}}, mask_classes=3)
    records = run_plan(
        evolve(of, reader="folder", reader_settings={"masks": "masks-multi"}), tmp_path, tmp_path / "out"
    ).records
    found = {
        (m.metric, m.dimensions.get("hider"), m.dimensions.get("class")): m
        for m in records.measurements
        if m.metric.startswith("dice")
    }
    assert {k for k in found if k[1] is None} == {("dice", None, None), ("dice", None, 1), ("dice", None, 2)}
    assert {k for k in found if k[2]} == {("dice", h, k) for h in (None, "deepstega") for k in (1, 2)}
    assert found["dice", None, 1].value > 0.8
    assert found["dice", None, 1].n == 2
    assert ("dice-together", "deepstega", None) in found


def test_a_classifier_of_bare_images_stands_beside_them_and_behind_no_hider(plan, tmp_path):
    pytest.importorskip("monai", reason="needs MONAI (privmed[monai])")
    few = {"schedule": {"steps": 2, "warmup": 1, "validate": 2}}
    of = plan(recipe=few, classes=2)
    entry = evolve(of.entries[0], label="resnet50", method="resnet50", settings={"classes": 2})
    with pytest.raises(SettingsError, match=r"^resnet50 takes bare images alone"):
        run_plan(evolve(of, entries=[of.entries[0], entry]), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out/cache/pairs").exists()  # nor was the other one trained
    bare = evolve(of, entries=[evolve(entry, grid={"hider": ["none"]})])
    found = {m.metric: m.n for m in run_plan(bare, tmp_path, tmp_path / "out").records.measurements}
    assert found == {"accuracy": 4, "auc": 4}


def test_dice_of_each_class_by_hand():
    answers = Labels(4, 3)
    right = torch.tensor([0, 1, 1, 2]).view(1, 1, 1, 4).float()
    said = torch.tensor([[0, 1, 2, 2], [0, 0, 0, 0]])
    found = torch.nn.functional.one_hot(said, 3).permute(0, 2, 1).view(2, 3, 1, 4).float()
    rated = answers.judged(found, right)
    assert rated["dice:1"].tolist() == pytest.approx([2 / 3, 0])
    assert rated["dice:2"].tolist() == pytest.approx([2 / 3, 0])
    assert rated["dice"].tolist() == pytest.approx([2 / 3, 0])
    assert answers.rated(found[:1], torch.zeros(1, 1, 1, 4))["dice:1"].tolist() == [0]
    nothing = answers.rated(found[1:], torch.zeros(1, 1, 1, 4))
    assert nothing["dice"].tolist() == [1]
    assert nothing["dice:1"].isnan().all()  # neither has it


def test_classes_need_a_set_that_has_some(plan, tmp_path):
    bare = tmp_path / "bare"
    (bare / "images").mkdir(parents=True)
    for n in range(4):
        Image.fromarray(np.full((32, 32), 50 * n, np.uint8)).save(bare / f"images/{n}.png")
    with pytest.raises(SettingsError, match="no sub-folder"):
        run_plan(plan("bare", classes=2), tmp_path, tmp_path / "out")


def sample(name, label):
    return Sample(name=name, image=lambda: torch.zeros(1, 1, 32, 32), label=label)


def test_the_area_is_that_of_all_answers_and_classes_are_in_alphabetical_order():
    dataset = Dataset("set", [sample("0", "b"), sample("1", "a"), sample("2", "b"), sample("3", "a")])
    assert classes_of(dataset) == ["a", "b"]
    assert classes_of(Dataset("set", [sample("0", "b"), sample("1", None)])) == []
    answers = Classes([Accuracy()], 32, ["a", "b"])
    judged = []
    for one, high in (("b", [0.9, 0.4]), ("a", [0.6, 0.1])):  # of b, behind two covers
        found = torch.tensor([[1 - p, p] for p in high])
        judged.append(answers.judged(found, answers.truth(sample("x", one)))["accuracy"].tolist())
    assert judged == [[1, 0], [0, 1]]
    [area] = answers.whole()
    assert (area.metric, area.value, area.n) == ("auc", 0.75, 2)  # of four pairs, one is the wrong way round


def test_no_area_where_all_images_are_of_one_class():
    answers = Classes([Accuracy()], 32, ["a", "b"])
    answers.judged(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
    assert answers.whole() == []
