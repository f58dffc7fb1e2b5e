"""Marks beside lesions that a trained network finds, where no mask shows them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import locks, registry
from privmed.cli import run
from privmed.data.lesions import make_segmenter
from privmed.errors import SettingsError
from privmed.keyfile import read_key
from privmed.locks import Passphrase
from privmed.training import run as train

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
pytest.importorskip("cryptography", reason="needs privmed[keys]")

STEPS = [
    "data.crop=32",
    "data.size=32",
    "data.batch=4",
    "data.validation=0.3",
    "schedule.warmup=0",
    "schedule.steps=60",
]


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")


def scan(n, side=64):
    """A bright lesion on grey, and its mask; number 5 has none."""
    rng, mask = np.random.default_rng(n), np.zeros((side, side), np.uint8)
    if n != 5:
        top, left = rng.integers(6, 30, 2)
        mask[top : top + 24, left : left + 24] = 255
    return np.where(mask, 220, rng.integers(40, 80, mask.shape)).astype(np.uint8), mask


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that was trained for a moment to find what is bright."""
    root = tmp_path_factory.mktemp("network")
    for part in ("scans/images", "scans/masks"):
        (root / part).mkdir(parents=True)
    for n in range(6, 18):
        for part, pixels in zip(("images", "masks"), scan(n)):
            Image.fromarray(pixels).save(root / f"scans/{part}/{n}.png")
    (root / "r.yaml").write_text(
        f"name: tiny\ntask: bare\nmethod: analyzer:unet\nsettings: {{width: 4}}\noptimizer: {{name: adam, rate: 1e-2, average: 0.5}}\n"
        f"data: {{root: {root}, secrets: [{{folder: scans}}]}}\n"
    )
    train(root / "r.yaml", overrides=STEPS, out=root / "out", quiet=True)
    return root / "out/unet-tiny.safetensors"


@pytest.fixture
def bare(tmp_path):
    """Images of a class each; the first has a mask, which is elsewhere than its bright square."""
    for part in ("images", "masks"):
        (tmp_path / f"set/{part}").mkdir(parents=True)
    for n in range(6):
        Image.fromarray(scan(n)[0]).save(tmp_path / f"set/images/{n}.png")
    other = np.zeros((64, 64), np.uint8)
    other[50:60, 2:12] = 255
    Image.fromarray(other).save(tmp_path / "set/masks/0.png")
    return tmp_path


def mark(root, *more):
    out = str(root / "out")
    return run(
        [
            "watermark",
            str(root / "set"),
            "-o",
            out,
            "--key",
            str(root / "k"),
            "--watermarker",
            "plain",
            "--seed",
            "1",
            *more,
        ]
    )


def changed(root, n):
    before, after = (np.asarray(Image.open(root / p / f"images/{n}.png").convert("L"), int) for p in ("set", "out"))
    return before != after


def test_marks_leave_out_what_the_network_finds(bare, weights, capsys):
    assert mark(bare, "--where", "outside", "--segmenter", f"unet:{weights}", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["no_lesion_found"] == 1
    assert "on 1 images the network found no lesion" in told.err
    for n in range(1, 5):
        mask = scan(n)[1] > 0
        assert changed(bare, n).any()
        assert (changed(bare, n) & mask).sum() < 0.05 * mask.sum()  # the network is right but for its edges
    _, *entries = read_key(bare / "k", [Passphrase("correct horse")])
    assert {e["file"][-5]: e["figures"]["lesion"] for e in entries} == {
        "0": "mask",
        **dict.fromkeys("1234", "network"),
        "5": "none found",
    }
    assert run(["unlock", str(bare / "out"), "-o", str(bare / "back"), "--key", str(bare / "k"), "-q"]) == 0
    assert all(
        (
            np.asarray(Image.open(bare / f"back/images/{n}.png"))
            == np.asarray(Image.open(bare / f"set/images/{n}.png"))
        ).all()
        for n in range(6)
    )


def test_workers_find_the_same(bare, weights, capsys):
    how = ["--where", "outside", "--segmenter", f"unet:{weights}", "-q", "--engine"]
    assert mark(bare, *how, "local") == 0
    once = {p.name: p.read_bytes() for p in (bare / "out").rglob("*.png")}
    (bare / "out").rename(bare / "first")
    (bare / "k").unlink()
    assert mark(bare, *how, "processes", "--workers", "1") == 0
    assert {p.name: p.read_bytes() for p in (bare / "out").rglob("*.png")} == once


def test_without_masks_and_network_the_way_out_is_told(bare, capsys):
    (bare / "set/masks/0.png").unlink()
    (bare / "set/masks").rmdir()
    assert mark(bare, "--where", "outside") == 3
    assert "--segmenter" in capsys.readouterr().err


def test_the_network_sees_what_it_was_trained_on_and_answers_at_the_size_of_the_image(weights, monkeypatch):
    find = make_segmenter(f"unet:{weights}", "cpu")
    pixels, mask = scan(2, side=96)
    seen, segment = [], find.method.segment
    monkeypatch.setattr(find.method, "segment", lambda image: seen.append(image.shape) or segment(image))
    found = find(torch.from_numpy(pixels)[None, None].float() / 255)
    assert seen == [(1, 3, 32, 32)]
    assert found.shape == mask.shape
    assert found.dtype == np.uint8
    assert 2 * (found * (mask > 0)).sum() / (found.sum() + (mask > 0).sum()) > 0.9


def test_a_network_that_does_not_fit_is_refused(weights, bare, capsys):
    with pytest.raises(SettingsError, match="METHOD:WEIGHTS"):
        make_segmenter("unet", "cpu")
    with pytest.raises(SettingsError, match="behind a hider"):
        make_segmenter("hidemia:busi", "cpu")
    assert mark(bare, "--segmenter", f"unet:{weights}") == 2
    assert "--where anywhere" in capsys.readouterr().err
    assert not (bare / "out").exists()


def test_networks_of_classes_are_refused(monkeypatch):
    method = registry.create("analyzer", "unet", None, classes=2)
    monkeypatch.setattr(registry, "create", lambda *_: method)
    with pytest.raises(SettingsError, match="tells classes"):
        make_segmenter("unet:x", "cpu")
