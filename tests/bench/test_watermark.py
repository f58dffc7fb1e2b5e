"""The suite that compares watermarkers: its table and page by hand, resumption, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from attrs import evolve
from PIL import Image

from privmed.bench.attacks import hits, transfer
from privmed.bench.engine import open_suite, run_plan
from privmed.bench.figures import figures
from privmed.bench.plan import make_plan
from privmed.bench.suites.watermark import IMAGES
from privmed.cli import run
from privmed.errors import InputError, SettingsError

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytestmark = pytest.mark.usefixtures("in_process")
QUICK = {"population": 6, "generations": 1, "hops": 1}
ATTACK = {"label": "quick", "method": "medlocker", "settings": QUICK}


class Judge(torch.nn.Module):
    """Says b as soon as the image is brighter than its threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lead = 40 * (x.mean((1, 2, 3)) - self.threshold)
        return torch.stack([-lead, lead], 1)


def judge(folder, name: str, threshold: float, classes=("a", "b")):
    path = folder / f"{name}.pt"
    torch.jit.save(torch.jit.script(Judge(threshold)), path)
    plain = {"classes": classes, "size": 64, "mean": [0, 0, 0], "deviation": [1, 1, 1], "answers": "logits"}
    path.with_suffix(".json").write_text(json.dumps(plain))
    return path


@pytest.fixture
def models(tmp_path):
    """``soft`` is misled by any mark, ``near`` by a large one, ``hard`` by none."""
    return {name: judge(tmp_path, name, at) for name, at in (("soft", 0.4105), ("near", 0.411), ("hard", 0.9))}


@pytest.fixture
def data(tmp_path):
    """Two classes, three test images of a and one of b, with masks for two of them."""
    rng, root = np.random.default_rng(0), tmp_path / "set"
    rows = ["file,split"]
    for label, n, level in (("a", 0, 103), ("a", 1, 103.5), ("a", 2, 104), ("b", 3, 250)):
        (root / label).mkdir(parents=True, exist_ok=True)
        view = np.clip(rng.normal(level, 5, (64, 64)), 0, 255).astype(np.uint8)
        Image.fromarray(view).save(root / label / f"{n}.png")
        rows.append(f"{label}/{n}.png,test")
    (root / "split.csv").write_text("\n".join(rows))
    (tmp_path / "lesions/masks").mkdir(parents=True)
    (tmp_path / "lesions/images").mkdir()
    mask = np.zeros((64, 64), np.uint8)
    mask[40:60, 40:60] = 255
    for n in (0, 1):
        Image.fromarray(mask).save(tmp_path / f"lesions/masks/{n}.png")
        (tmp_path / f"lesions/images/{n}.png").write_bytes((root / f"a/{n}.png").read_bytes())
    return root


def plan_of(names=("soft", "near", "hard"), grid=None, **settings):
    plain = {"suite": "watermark", "data": "set", "entries": [{"label": "unmarked"}, ATTACK], "grid": grid or {}}
    return make_plan({**plain, "settings": {"size": 64, "models": {n: f"{n}.pt" for n in names}, **settings}})


def measured(plan, root, out=None):
    records = run_plan(plan, root, out or root / "out", models=root, trust=True).records
    return {
        tuple(m.fields.get(k, "") for k in ("metric", "method", "source", "class", "target", "where")): m
        for m in records.measurements
    }


def test_table_of_sources_targets_and_classes(data, models, tmp_path):
    plan = plan_of(ensemble=["soft", "near"])
    found = measured(plan, tmp_path)
    value = {k: m.value for k, m in found.items()}
    assert value["accuracy", "unmarked", "soft", "", "", ""] == 1
    assert value["accuracy", "unmarked", "hard", "b", "", ""] == 1
    assert value["asr", "quick", "hard", "", "", "anywhere"] == 0
    assert value["asr", "quick", "soft", "", "", "anywhere"] == 0.75  # the bright image of b stays bright
    assert value["asr", "quick", "soft", "b", "", "anywhere"] == 0
    assert ("transfer", "quick", "ensemble", "", "near", "anywhere") not in value  # near is one of its members
    assert value["transfer", "quick", "ensemble", "", "hard", "anywhere"] == 0
    assert found["asr", "quick", "soft", "", "", "anywhere"].n == 4
    logs = [(tmp_path / "out" / name).read_text() for name in (IMAGES, "runs.jsonl")]
    assert measured(plan, tmp_path) == found
    assert [(tmp_path / "out" / name).read_text() for name in (IMAGES, "runs.jsonl")] == logs


def test_an_interrupted_search_attacks_no_image_twice(data, models, tmp_path, monkeypatch):
    plan = plan_of(["soft"])
    whole = measured(plan, tmp_path)
    (tmp_path / "out/runs.jsonl").unlink()
    monkeypatch.setattr("privmed.bench.suites.watermark.Watermark._attack", lambda *_: 1 / 0)
    again = measured(plan, tmp_path)
    assert {k: m.value for k, m in again.items()} == {k: m.value for k, m in whole.items()}


def test_only_what_the_source_has_right_is_attacked(data, models, tmp_path):
    judge(tmp_path, "wrong", 0.403)  # takes the two brighter ones of a for b
    found = measured(plan_of(["wrong"]), tmp_path)
    assert found["accuracy", "unmarked", "wrong", "a", "", ""].value == pytest.approx(1 / 3)
    assert found["asr", "quick", "wrong", "", "", "anywhere"].n == 2


def test_shares_come_with_their_intervals(data, models, tmp_path):
    plan = plan_of(["soft"])
    records = run_plan(plan, tmp_path, tmp_path / "out", models=tmp_path, trust=True).records
    suite = type(open_suite(plan, tmp_path, tmp_path / "out", models=tmp_path, trust=True))
    asr = next(
        f for f in figures(records, plan, suite.quantity) if f.fields["metric"] == "asr" and "class" not in f.fields
    )
    assert asr.summary.interval == (pytest.approx(0.301, abs=1e-3), pytest.approx(0.954, abs=1e-3))


def test_another_model_file_is_another_run(data, models, tmp_path):
    for threshold, misled in ((0.4105, 0.75), (0.9, 0.0)):
        judge(tmp_path, "soft", threshold)
        assert measured(plan_of(["soft"]), tmp_path)["asr", "quick", "soft", "", "", "anywhere"].value == misled


def test_marks_outside_cover_no_lesion(data, models, tmp_path):
    found = measured(plan_of(["soft"], {"where": ["outside", "inside"]}, masks="lesions"), tmp_path)
    assert found["covered", "quick", "soft", "", "", "outside"].value == 0
    assert found["covered", "quick", "soft", "", "", "inside"].value > 0
    assert {found["asr", "quick", "soft", "", "", where].n for where in ("outside", "inside")} == {2}


def test_bad_plans_are_refused(data, models, tmp_path):
    for plan, words in (
        (plan_of(grid={"source": ["gone"]}), "no model 'gone'; there are soft, near, hard"),
        (plan_of(ensemble=["gone"]), "no model 'gone'"),
        (plan_of(grid={"where": ["above"]}), "where must be among"),
        (plan_of([]), "names no model"),
    ):
        with pytest.raises(SettingsError, match=words):
            measured(plan, tmp_path)
    judge(tmp_path, "other", 0.5, classes=("a", "c"))
    with pytest.raises(SettingsError, match="other classes"):
        measured(plan_of(["soft", "other"]), tmp_path)
    with pytest.raises(InputError, match="no image has a mask"):
        measured(plan_of(["soft"], {"where": ["outside"]}), tmp_path)
    for n in (0, 1):
        (tmp_path / f"lesions/images/{n}.png").rename(tmp_path / f"lesions/images/x{n}.png")
        (tmp_path / f"lesions/masks/{n}.png").rename(tmp_path / f"lesions/masks/x{n}.png")
    with pytest.raises(InputError, match="no mask there has the name"):
        measured(plan_of(["soft"], masks="lesions"), tmp_path)


def test_masks_that_lie_elsewhere_are_refused(data, models, tmp_path):
    path = tmp_path / "lesions/masks/0.png"
    path.symlink_to(path.rename(tmp_path / "elsewhere.png"))
    with pytest.raises(InputError, match="leads out of"):
        measured(plan_of(["soft"], masks="lesions"), tmp_path)


def test_a_mask_of_another_picture_is_not_lent(data, models, tmp_path):
    """Some sets crop their pictures: a name alone does not say that a mask fits."""
    rng = np.random.default_rng(5)
    Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(tmp_path / "lesions/images/1.png")
    found = measured(plan_of(["soft"], {"where": ["outside"]}, masks="lesions"), tmp_path)
    assert found["asr", "quick", "soft", "", "", "outside"].n == 1


def test_controls_mark_without_a_single_query(data, models, tmp_path):
    """A logo in the middle of the target, and one at a random place; what they reach is judged as a search is."""
    from privmed.bench.plan import Entry

    places = [Entry(label=p, method="plain", settings={"place": p}) for p in ("middle", "random")]
    plan = evolve(plan_of(["soft", "hard"], {"where": ["inside"]}, masks="lesions"), entries=places)
    found = measured(plan, tmp_path)
    for place in ("middle", "random"):
        assert found["queries", place, "soft", "", "", "inside"].value == 0
        assert found["asr", place, "soft", "", "", "inside"].value == 1
        assert found["asr", place, "hard", "", "", "inside"].value == 0
    assert (
        found["covered", "middle", "soft", "", "", "inside"].value
        > found["covered", "random", "soft", "", "", "inside"].value
    )


def test_shares_by_hand():
    lines = [
        {"success": True, "label": 0, "before": {"b": 0}, "after": {"b": 1}},
        {"success": True, "label": 0, "before": {"b": 0}, "after": {"b": 0}},
        {"success": True, "label": 0, "before": {"b": 1}, "after": {"b": 1}},
        {"success": False, "label": 0, "before": {"b": 0}, "after": {"b": 1}},
    ]
    assert hits(lines) == [1, 1, 1, 0]
    assert transfer(lines, "b") == [1, 0]


def test_short_form_of_the_command(data, models, tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "bench",
        "watermark",
        "--data",
        str(data),
        "-o",
        str(out),
        "--limit",
        "2",
        "--set",
        "size=64",
        "--json",
        "--trust-model",
    ]
    command += ["--model", str(models["soft"]), "--model", str(models["hard"]), "--ensemble", "soft,hard"]
    command += ["--set", "medlocker.population=6", "--set", "medlocker.generations=0"]
    assert run(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["measurements"] > 4
    assert "| source |" in said.err
    assert "a → b" in (out / "watermark.html").read_text()
    assert run([*command[:6], "--model", str(tmp_path / "gone.pt")]) != 0
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "x").mkdir()
    assert run([*command[:6], "--model", str(models["soft"]), "--model", str(tmp_path / "x/soft.pt")]) == 2
    assert "same name" in capsys.readouterr().err


def test_a_plan_may_run_models_that_are_programs_if_they_are_trusted(data, models, tmp_path, monkeypatch):
    from privmed.bench import engine
    from privmed.bench.plan import Entry, Plan, save_plan

    plan, given = tmp_path / "plan.yaml", []
    save_plan(Plan(suite="watermark", name="plan", data=["set"], entries=[Entry(label="unmarked")]), plan)
    monkeypatch.setattr(engine, "run_plan", lambda *_, **options: given.append(options["trust"]) or 1 / 0)
    for more in ([], ["--trust-model"]):
        run(["bench", "run", str(plan), "--data", str(tmp_path), "-o", str(tmp_path / "out"), *more])
    assert given == [False, True]
