"""The suite that compares watermarkers: its table and page by hand, resumption, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.cli import run
from privmed.data.folders import ImageFolder
from privmed.errors import InputError, SettingsError
from privmed.evaluation import watermark_suite as suite
from privmed.imaging.logo import draw_logo

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytestmark = pytest.mark.usefixtures("in_process")
QUICK = "medlocker[population=6;generations=1;hops=1]"


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
    (tmp_path / "masks").mkdir()
    mask = np.zeros((64, 64), np.uint8)
    mask[40:60, 40:60] = 255
    for n in (0, 1):
        Image.fromarray(mask).save(tmp_path / f"masks/{n}.png")
    return root


def test_table_of_sources_targets_and_classes(data, models, tmp_path):
    plan = suite.WatermarkPlan(size=64, ensemble=["soft", "near"])
    panel = suite.Panel(ImageFolder(data), models, plan, trust=True)
    results, found = suite.run_suite(panel, suite.attacks_of(QUICK), draw_logo(), tmp_path / "out")
    value = {(f.name, f.method): f for f in results.figures}
    assert value["accuracy on clean images", "soft"].measured == 1
    assert value["accuracy on class b", "hard"].measured == 1
    assert value[f"ASR, {QUICK}", "hard"].measured == 0
    assert value[f"ASR, {QUICK}", "soft"].measured == 0.75  # the bright image of b stays bright
    assert value[f"ASR of class b, {QUICK}", "soft"].measured == 0
    assert (f"transfer to near, {QUICK}", "ensemble") not in value  # near is one of its members
    assert value[f"transfer to hard, {QUICK}", "ensemble"].measured == 0
    journal = (tmp_path / "out/watermark.jsonl").read_text()
    again, _ = suite.run_suite(panel, suite.attacks_of(QUICK), draw_logo(), tmp_path / "out")
    assert again.figures == results.figures
    assert (tmp_path / "out/watermark.jsonl").read_text() == journal
    page = suite.save(results, panel, found, draw_logo(), tmp_path / "out/watermark.json").with_suffix(".html")
    assert "a → b" in page.read_text()


def test_another_model_file_is_another_run(data, models, tmp_path):
    plan = suite.WatermarkPlan(size=64, sources=["soft"])
    for threshold, misled in ((0.4105, 0.75), (0.9, 0.0)):
        judge(tmp_path, "soft", threshold)
        panel = suite.Panel(ImageFolder(data), {"soft": models["soft"]}, plan, trust=True)
        results, _ = suite.run_suite(panel, suite.attacks_of(QUICK), draw_logo(), tmp_path / "out")
        assert next(f.measured for f in results.figures if f.name.startswith("ASR,")) == misled


def test_marks_outside_cover_no_lesion(data, models, tmp_path):
    plan = suite.WatermarkPlan(size=64, sources=["soft"], where=["outside", "inside"])
    masks = suite.masks_beside(ImageFolder(data), tmp_path / "masks")
    panel = suite.Panel(ImageFolder(data), models, plan, masks, trust=True)
    results, _ = suite.run_suite(panel, suite.attacks_of(QUICK), draw_logo(), tmp_path / "out")
    covered = {f.name: f.measured for f in results.figures if f.name.startswith("share of the lesion")}
    assert covered[f"share of the lesion covered, {QUICK}, mark outside"] == 0
    assert covered[f"share of the lesion covered, {QUICK}, mark inside"] > 0
    assert {f.n for f in results.figures if f.name.startswith("ASR, ")} == {2}


def test_masks_that_lie_elsewhere_are_refused(data, tmp_path):
    path = next((tmp_path / "masks").glob("*.png"))
    path.symlink_to(path.rename(tmp_path / "elsewhere.png"))
    with pytest.raises(InputError, match="leads out of"):
        suite.masks_beside(ImageFolder(data), tmp_path / "masks")


def test_bad_plans_are_refused(data, models, tmp_path):
    folder = ImageFolder(data)
    with pytest.raises(SettingsError, match="no model 'gone'"):
        suite.Panel(folder, models, suite.WatermarkPlan(sources=["gone"]), trust=True)
    with pytest.raises(SettingsError, match="where must be among"):
        suite.Panel(folder, models, suite.WatermarkPlan(where=["above"]), trust=True)
    other = judge(tmp_path, "other", 0.5, classes=("a", "c"))
    with pytest.raises(SettingsError, match="other classes"):
        suite.Panel(folder, models | {"other": other}, suite.WatermarkPlan(), trust=True)
    with pytest.raises(InputError, match="no mask there has the name"):
        suite.masks_beside(folder, tmp_path)
    panel = suite.Panel(folder, models, suite.WatermarkPlan(size=64, where=["outside"]), trust=True)
    with pytest.raises(InputError, match="no image has a mask"):
        suite.run_suite(panel, suite.attacks_of(QUICK), draw_logo(), tmp_path / "out")
    with pytest.raises(SettingsError, match="same name"):
        suite.by_name([tmp_path / "x/a.pt", tmp_path / "y/a.pt"])


def test_command_writes_table_and_page(data, models, tmp_path, capsys):
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
    assert json.loads(said.out)["figures"] > 4
    assert "| source |" in said.err
    assert (out / "watermark.json").is_file()
    assert (out / "watermark.html").is_file()
    assert run([*command[:6], "--model", str(tmp_path / "gone.pt")]) != 0
    assert "no such file" in capsys.readouterr().err
