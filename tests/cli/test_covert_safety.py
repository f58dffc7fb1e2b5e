"""What the covert commands refuse or warn of: answers by chance, a hider that does not belong, outputs that are in the way."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import privmed
from privmed import registry
from privmed.cli import run
from privmed.cli.common import finite
from privmed.errors import PrivmedError, SettingsError, WeightsError
from privmed.pipeline import hide, noise, tuned_hider

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


@pytest.fixture
def sent(files):
    """The same folder, with the scan hidden in ``s.png``."""
    assert run(["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "s.png"), "-q"]) == 0
    return files


@pytest.fixture
def joint(tmp_path):
    """An analyzer and the hider that was trained with it, in a folder of their own, as ``privmed train`` leaves them."""
    folder = tmp_path / "trained"
    folder.mkdir()
    for method, name in (
        (privmed.hider("lightih"), "lightih-mine"),
        (privmed.analyzer("hidemia", weights="busi"), "hidemia-mine"),
    ):
        shutil.copy(method.source, folder / f"{name}.safetensors")
        card = method.card | ({"hider": {**method.card["hider"], "weights": "mine"}} if "hidemia" in name else {})
        (folder / f"{name}.json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("command", [["hide", "scan.png", "photo.jpg"], ["recover", "s.png"]])
def test_a_hider_without_weights_does_not_work(sent, capsys, monkeypatch, command):
    """It would hide nothing, and recover noise that might pass for a scan."""
    monkeypatch.chdir(sent)
    monkeypatch.setattr(registry.load("hider", "lightih"), "default_weights", None)
    assert run([*command, "-o", "x.png"]) == 4
    assert "would answer at random" in capsys.readouterr().err
    assert not Path("x.png").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["analyze", "s.png", "-o", "x.png", "--analyzer", "unet"],
        ["recover", "s.png", "-o", "x.png", "--as", "mask", "--analyzer", "unet"],
        ["covert", "scan.png", "photo.jpg", "-o", "x", "--analyzer", "unet"],
    ],
)
def test_an_analyzer_without_weights_does_not_answer(sent, capsys, monkeypatch, command):
    """It would find nothing, or something, by chance."""
    monkeypatch.chdir(sent)
    assert run(command) == 4
    assert "would answer at random" in capsys.readouterr().err
    assert not Path(command[command.index("-o") + 1]).exists()


def test_the_hider_of_a_joint_training_is_found_beside_the_analyzer(joint, sent):
    server = privmed.analyzer("hidemia", weights=str(joint / "hidemia-mine.safetensors"))
    assert tuned_hider(server).source == joint / "lightih-mine.safetensors"
    mask = [
        "recover",
        str(sent / "s.png"),
        "--as",
        "mask",
        "--analyzer-weights",
        str(joint / "hidemia-mine.safetensors"),
    ]
    assert run([*mask, "-o", str(sent / "m.png"), "-q"]) == 0


def test_a_card_that_names_the_default_of_its_day_leads_to_those_very_weights(joint):
    """The default may be another one by now; what it was is told by its sha256."""
    path = joint / "hidemia-mine.json"
    card = json.loads(path.read_text())
    general = privmed.hider("lightih", weights="general")
    tuned = {"name": "lightih", "weights": "bundled", "sha256": general.card["sha256"]}
    path.write_text(json.dumps({**card, "hider": tuned}))
    server = privmed.analyzer("hidemia", weights=str(path.with_suffix(".safetensors")))
    assert tuned_hider(server).source == general.source


def test_a_card_names_weights_but_leads_nowhere(joint, sent, tmp_path, monkeypatch):
    """A path in a card that somebody sent would be opened on the machine of who received it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for ending in ("safetensors", "json"):
        (joint / f"lightih-mine.{ending}").rename(elsewhere / f"lightih-theirs.{ending}")
    path = joint / "hidemia-mine.json"
    card = json.loads(path.read_text())
    monkeypatch.chdir(elsewhere)
    for said in (
        str(elsewhere / "lightih-theirs.safetensors"),
        "../elsewhere/lightih-theirs.safetensors",
        "..",
        "",
        "x\0",
    ):
        path.write_text(json.dumps({**card, "hider": {**card["hider"], "weights": said}}))
        server = privmed.analyzer("hidemia", weights=str(path.with_suffix(".safetensors")))
        with pytest.raises(PrivmedError, match=r"neither bundled nor beside|NUL"):
            tuned_hider(server)
    for ending in ("safetensors", "json"):
        shutil.copy(elsewhere / f"lightih-theirs.{ending}", joint)
    path.write_text(json.dumps({**card, "hider": {**card["hider"], "weights": "runs\\x\\lightih-theirs.safetensors"}}))
    server = privmed.analyzer("hidemia", weights=str(path.with_suffix(".safetensors")))
    assert tuned_hider(server).source == joint / "lightih-theirs.safetensors"


def test_other_weights_of_the_hider_are_refused_unless_they_are_named(joint, sent, capsys):
    path = joint / "hidemia-mine.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "hider": {**card["hider"], "sha256": "0" * 64}}))
    mask = [
        "recover",
        str(sent / "s.png"),
        "--as",
        "mask",
        "--analyzer-weights",
        str(path.with_suffix(".safetensors")),
    ]
    assert run([*mask, "-o", str(sent / "m.png"), "-q"]) == 4
    assert "was tuned to other weights" in capsys.readouterr().err
    assert not (sent / "m.png").exists()
    assert run([*mask, "-o", str(sent / "m.png"), "-q", "--hider", "lightih"]) == 0
    assert "its results may mean nothing" in capsys.readouterr().err


def test_covert_looks_at_all_its_outputs_first(sent, capsys):
    out = sent / "out"
    covert = ["covert", str(sent / "scan.png"), str(sent / "photo.jpg"), "-o", str(out), "-q"]
    out.mkdir()
    (out / "mask.png").write_bytes(b"mine")
    assert run(covert) == 2
    assert [p.name for p in out.iterdir()] == ["mask.png"]
    assert run(["covert", str(sent / "no.png"), str(sent / "photo.jpg"), "-o", str(sent / "new"), "-q"]) == 3
    assert not (sent / "new").exists()


def test_what_is_read_back_is_a_png_by_name_too(sent, capsys):
    assert run(["recover", str(sent / "s.png"), "-o", str(sent / "back.jpg"), "-q"]) == 2
    assert "ends in .png" in capsys.readouterr().err
    assert not (sent / "back.jpg").exists()


def test_noise_on_both_legs_is_not_the_same_noise(toy_hider):
    grey = torch.full((1, 3, 64, 64), 0.5)
    once = (hide(toy_hider) | noise(0.01))(grey, grey).image
    twice = (hide(toy_hider) | noise(0.01) | noise(0.01))(grey, grey).image
    draws = torch.stack([(once - grey).flatten(), (twice - once).flatten()])
    assert abs(float(torch.corrcoef(draws)[0, 1])) < 0.05


def test_programs_read_null_where_a_figure_is_infinite():
    assert finite({"a": float("inf"), "b": [1.0, float("nan")], "c": "x"}) == {"a": None, "b": [1.0, None], "c": "x"}


def test_settings_and_cards_that_make_no_sense_are_one_sentence(joint):
    with pytest.raises(SettingsError, match="alpha"):
        privmed.hider("lightih", weights=None, alpha=float("inf"))
    (joint / "lightih-mine.json").write_text(json.dumps({"method": "hider:lightih", "config": None}))
    with pytest.raises(WeightsError, match="holds no settings"):
        privmed.hider("lightih", weights=str(joint / "lightih-mine.safetensors"))


def test_every_width_that_hidemia_takes_works():
    server = privmed.analyzer("hidemia", weights=None, width=14)
    assert server.analyze(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_covert_writes_no_stego_that_cannot_be_read_back(sent, capsys, monkeypatch):
    """As ``hide`` does."""
    monkeypatch.setattr("privmed.covert.fidelity.USABLE", 99.0)
    covert = ["covert", str(sent / "scan.png"), str(sent / "photo.jpg"), "-o", str(sent / "out"), "-q"]
    assert run(covert) == 6
    assert "dB only, so nothing was written" in capsys.readouterr().err
    assert not (sent / "out").exists()
