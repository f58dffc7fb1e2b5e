"""What the covert commands write of several classes a mask, and of classes of the image."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import privmed
from privmed import weights
from privmed.cli import run as command
from privmed.covert.outcome import FINDING

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


@pytest.fixture
def trained(tmp_path):
    """Weights files of untrained analyzers that answer with the stego, by their settings."""

    def write(**settings):
        torch.manual_seed(0)
        method = privmed.analyzer("unet", weights=None, width=2, residual=True, **settings)
        path = tmp_path / "unet-some.safetensors"
        names = ["benign", "malignant", "normal"][: settings.get("classes", 0)]
        weights.save(method, path, **({"classes": names} if names else {}))
        return str(path)

    return write


def test_several_classes_are_written_as_numbers(files, trained, capsys):
    path = trained(mask_classes=8)
    stego, out = str(files / "out/stego.png"), files / "map.png"
    photo, scan = str(files / "photo.jpg"), str(files / "scan.png")
    covert = ["covert", scan, photo, "-o", str(files / "out"), "--analyzer", "unet", "--weights", path, "--json"]
    assert command(covert) == 0
    figures = json.loads(capsys.readouterr().out)
    labels = np.asarray(Image.open(files / "out/mask.png"))
    assert labels.dtype == np.uint8
    assert 1 < len(np.unique(labels)) <= 8
    assert labels.max() <= 7
    assert figures["areas"] == {str(k): pytest.approx((labels == k).mean()) for k in range(1, 8)}
    assert figures["foreground"] == pytest.approx((labels > 0).mean())
    assert "a colour for each class" in (files / "out/report.html").read_text()
    analyzer = ["--analyzer", "unet", "--analyzer-weights", path]
    assert command(["recover", stego, "-o", str(out), "--as", "mask", *analyzer, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == FINDING
    assert np.asarray(Image.open(out)).max() <= 7


def test_a_class_is_written_as_json_with_the_names_of_its_card(files, trained, capsys):
    path = trained(classes=3)
    photo, scan = str(files / "photo.jpg"), str(files / "scan.png")
    covert = ["covert", scan, photo, "-o", str(files / "out"), "--analyzer", "unet", "--weights", path, "--json"]
    assert command(covert) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["probabilities"]) == {"benign", "malignant", "normal"}
    assert not (files / "out/mask.png").exists()
    response, out = str(files / "out/response.png"), files / "class.json"
    recover_ = ["recover", response, "--analyzer", "unet", "--analyzer-weights", path]
    assert command([*recover_, "-o", str(out), "--as", "class", "-q"]) == 0
    written = json.loads(out.read_text())
    assert written["class"] == figures["class"]
    assert written["probability"] == pytest.approx(figures["probability"])
    assert sum(written["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert command([*recover_, "-o", str(files / "m.png"), "--as", "mask"]) == 2
    assert "Use --as class." in capsys.readouterr().err
    assert not (files / "m.png").exists()


def test_a_segmenter_has_no_class(files, trained, capsys):
    path = trained()
    Image.open(files / "photo.jpg").save(files / "sent.png")
    as_class = ["--as", "class", "--analyzer", "unet", "--analyzer-weights", path]
    assert command(["recover", str(files / "sent.png"), "-o", str(files / "c.json"), *as_class]) == 2
    assert "Use --as mask." in capsys.readouterr().err
