"""The protection suite on sets with classes: what is published, who is asked, and what accuracy stands in the table."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from privmed.bench.engine import open_suite, run_plan
from privmed.bench.plan import make_plan
from privmed.errors import InputError, SettingsError

pytest.importorskip("monai")
QUICK = {"epochs": 2, "learning_rate": 3e-3, "batch": 4, "width": 4}
CLASSES = {"a": 40, "b": 130, "c": 220}


@pytest.fixture
def folder(tmp_path):
    """Three classes of a brightness each; six training images and one test image a class, of c two."""
    rng, rows = np.random.default_rng(0), ["file,split"]
    for label, level in CLASSES.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for n in range(8 if label == "c" else 7):
            pixels = np.clip(rng.normal(level, 5, (40, 40)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{n}.png")
            rows.append(f"{label}/{n}.png,{'train' if n < 6 else 'test'}")
    (tmp_path / "set/split.csv").write_text("\n".join(rows))
    return tmp_path


def plan_of(*entries, exploiter="resnet18", **more):
    settings = {"size": 32, "protocol": QUICK}
    plain = {"suite": "protection", "data": "set", "entries": list(entries), "grid": {"exploiter": exploiter, **more}}
    return make_plan({**plain, "settings": settings})


def test_classes_are_numbered_by_name_in_both_parts(folder):
    train, test = open_suite(plan_of({"label": "u"}), folder, folder / "out").sets("set")
    assert train[1].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert test[1].tolist() == [0, 1, 2, 2]
    assert train[0].shape == (18, 1, 32, 32)


def test_the_accuracy_of_exploiters_and_of_the_most_frequent_class(folder):
    found = run_plan(plan_of({"label": "one", "method": "constant"}, {"label": "u"}), folder, folder / "out").records
    values = {(m.metric, m.method, m.dimensions.get("epoch", "")): m.value for m in found.measurements}
    assert values["accuracy", "one", ""] == 0.25  # all are equally frequent: the first
    assert 0 <= values["accuracy", "u", ""] <= values["accuracy", "u", "best"] <= 1
    assert not any(metric in ("dice", "jaccard") for metric, *_ in values)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("em", {"rounds": 1, "batches": 1, "steps": 1, "step": 1.0, "width": 2}),
        ("em", {"rounds": 1, "batches": 1, "step": 1.0, "width": 2, "classwise": True}),
        ("tap", {"epochs": 1, "steps": 1, "width": 2}),
        ("sep", {"epochs": 1, "checkpoints": 1, "steps": 1, "width": 2}),
        ("lsp", {}),
        ("ar", {}),
    ],
)
def test_every_protector_of_classes_is_judged(folder, method, settings):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan = plan_of({"label": "x", "method": method, "settings": settings}, defence=["clean10"])
    found = {m.metric: m.value for m in run_plan(plan, folder, folder / "out").records.measurements}
    assert {"accuracy", "psnr", "ssim"} <= set(found)
    assert found["clean-images"] == 2
    assert found["psnr"] < 50


def test_a_network_for_masks_is_refused_before_anything_runs(folder):
    with pytest.raises(SettingsError, match="unet: is made for segmentation, but the data set is for classification"):
        run_plan(plan_of({"label": "u"}, exploiter="unet"), folder, folder / "out")


def test_a_protector_of_masks_is_refused_before_anything_runs(folder):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    with pytest.raises(SettingsError, match="tint does not protect classification data, which set is"):
        run_plan(plan_of({"label": "u"}, {"label": "x", "method": "tint"}), folder, folder / "out")
    assert not (folder / "out/runs.jsonl").exists()


def test_images_beside_the_classes_are_refused(folder):
    (folder / "set/split.csv").unlink()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "set/stray.png")
    with pytest.raises(InputError, match="no masks and no classes"):
        run_plan(plan_of({"label": "u"}), folder, folder / "out")
