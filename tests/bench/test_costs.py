"""What a step costs, counted against what is known of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import registry, weights
from privmed.bench.costs import cost
from privmed.bench.engine import run_plan
from privmed.bench.plan import make_plan

MB = 10**6


@pytest.fixture
def scans_and_photos(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("scans/images", "scans/masks", "photos"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for n in range(2):
            pixels = rng.integers(0, 255, (64, 64), dtype=np.uint8)
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8) if "masks" in folder else pixels
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{n}.png")
    for name in ("scans", "photos"):
        (tmp_path / "data" / name / "split.csv").write_text("file,split\n0.png,test\n1.png,test\n")
    return tmp_path / "data"


def test_multiplications_are_those_of_the_layers():
    layer, x = torch.nn.Conv2d(3, 8, 3, padding=1), torch.rand(2, 3, 16, 20)
    found = cost(lambda: layer(x))
    assert found.macs == 2 * 16 * 20 * 8 * 3 * 9
    assert found.seconds > 0


def test_memory_is_what_is_held_at_once_and_made_by_the_step():
    given = torch.zeros(MB)  # of bytes four times as many, which are the caller's

    def dropped():
        for _ in range(3):
            torch.ones(MB // 4)
        return given.view(10, -1)

    def kept():
        return [torch.ones(MB // 4) + 1 for _ in range(3)]  # the last time with what is added to

    assert cost(dropped).peak == MB
    assert cost(kept).peak == 4 * MB


def test_a_network_costs_its_weights_at_each_pixel():
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    hider = registry.hider("lightih", weights=None)
    hider.precision = "float32"
    of_layers = sum(p.numel() for p in hider.parameters() if p.ndim == 4)
    image = torch.rand(1, 3, 64, 64)
    assert cost(lambda: hider.hide(image, image)).macs == of_layers * 32 * 32


def test_each_step_of_covert_analysis_costs_its_side(tmp_path, scans_and_photos):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    analyzer = registry.analyzer("unet", weights=None, width=2)
    weights.save(analyzer, tmp_path / "unet.safetensors", hider={"name": "lightih", "weights": "broad", "sha256": ""})
    entries = [
        {"label": "bare", "method": "unet", "weights": "unet.safetensors", "grid": {"hider": ["none"]}},
        {"label": "covert", "method": "unet", "weights": "unet.safetensors"},
    ]
    plan = {"suite": "covert", "data": "scans", "entries": entries, "metrics": ["dice"]}
    plan["grid"] = {"hider": ["lightih"], "cover": ["photos"]}
    plan = make_plan({**plan, "settings": {"size": 64, "covers": 1, "costs": True}})
    records = run_plan(plan, scans_and_photos, tmp_path / "out", models=tmp_path).records.measurements
    found = {(m.metric, m.method, m.fields.get("side"), m.fields.get("step")): m.value for m in records}
    millions = sum(p.numel() for p in analyzer.parameters()) / 1e6
    for label in ("bare", "covert"):
        assert found["parameters", label, "server", None] == pytest.approx(millions)
        assert found["macs", label, "server", "analyze"] > 0
    assert found["macs", "covert", "server", "analyze"] == found["macs", "bare", "server", "analyze"]
    assert found["macs", "covert", "client", "hide"] == found["macs", "covert", "client", "recover"]
    for metric in ("time", "tensors"):
        steps = {key[2:] for key in found if key[:2] == (metric, "covert")}
        assert steps == {("client", "hide"), ("server", "analyze"), ("client", "recover")}
