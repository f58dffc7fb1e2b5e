"""What the covert commands say of what they did: worst patch and pixel, weights in use, inputs they do not know, what is lost."""

import json

import numpy as np
import pytest
from PIL import Image

import privmed
from privmed.cli import run
from privmed.covert.fidelity import Fidelity
from privmed.imaging import read_wire

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
DEMANDING = {"measure": Fidelity(mean=20, patch=99, pixel=0), "view": Fidelity(mean=20, patch=5, pixel=255)}


def hide(files, *options):
    return run(["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "s.png"), *options])


def covert(files, *options):
    return run(["covert", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "out"), *options])


def test_worst_patch_and_pixel_are_those_of_the_written_file(files, capsys):
    assert hide(files, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert run(["recover", str(files / "s.png"), "-o", str(files / "back.png"), "-q"]) == 0
    scan, back = (np.asarray(Image.open(files / n).convert("RGB"), float) for n in ("scan.png", "back.png"))
    assert np.abs(scan - back).max() == pytest.approx(figures["recovered_worst_pixel"], abs=0.51)
    windows = np.lib.stride_tricks.sliding_window_view((scan - back) ** 2, (8, 8), (0, 1)).mean((2, 3, 4))
    assert figures["recovered_worst_patch"] == pytest.approx(10 * np.log10(255**2 / windows.max()), abs=0.5)
    assert figures["use"] == "measure"
    assert figures["recovered_worst_patch"] < figures["recovered_psnr"]


def test_below_the_threshold_of_a_use_is_a_warning_or_with_strict_a_refusal(files, capsys, monkeypatch):
    monkeypatch.setattr("privmed.covert.fidelity.USES", DEMANDING)
    for command, output in ((hide, "s.png"), (covert, "out")):
        assert command(files, "--strict") == 6
        assert "falls short of the use 'measure'" in capsys.readouterr().err
        assert not (files / output).exists()
        assert command(files, "--json") == 0
        said = capsys.readouterr()
        assert "warning: " in said.err
        assert any("worst patch" in words for words in json.loads(said.out)["warnings"])
        assert command(files, "--use", "view", "--strict", "--force", "--json") == 0
        assert not any("falls short" in words for words in json.loads(capsys.readouterr().out)["warnings"])
        assert command(files, "--use", "print", "--force") == 2
        assert "measure or view" in capsys.readouterr().err
    page = (files / "out/report.html").read_text()
    assert "worst patch" in page
    assert "its error" in page


def test_which_weights_were_used_is_always_said(files, capsys):
    hider, analyzer = privmed.hider("lightih"), privmed.analyzer("hidemia", weights="busi")
    names = [f"{m.name} {name} ({m.card['sha256'][:8]})" for m, name in ((hider, "broad"), (analyzer, "busi"))]
    stego, response, busi = str(files / "s.png"), str(files / "r.png"), ["--analyzer-weights", "busi"]
    commands = [
        (["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", stego], names[:1]),
        (["analyze", stego, "-o", response, "--weights", "busi"], names[1:]),
        (["recover", stego, "-o", str(files / "b.png")], names[:1]),
        (["recover", response, "-o", str(files / "m.png"), "--as", "mask", *busi], names),
        (
            [
                "covert",
                str(files / "scan.png"),
                str(files / "photo.jpg"),
                "-o",
                str(files / "out"),
                "--weights",
                "busi",
            ],
            names,
        ),
    ]
    for command, expected in commands:
        assert run([*command, "--force"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert all(name in said for name in expected), command
        assert run([*command, "--force", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["weights"]
        assert {w["sha256"][:8] for w in told.values()} == {name[-9:-1] for name in expected}
    assert all(name in (files / "out/report.html").read_text() for name in names)


def test_a_scan_and_a_photograph_that_the_weights_do_not_know_are_told(files, capsys):
    """A made-up scan through breast ultrasound's weights, and a photograph in which nothing is hidden."""
    assert covert(files, "--weights", "busi", "--json") == 0
    said = capsys.readouterr()
    (words,) = [w for w in json.loads(said.out)["warnings"] if "the scan is unlike" in w]
    assert "hidemia busi (" in words
    assert "expected at most" in words
    assert words in said.err.replace("\n", " ")
    Image.open(files / "photo.jpg").save(files / "photo.png")
    mask = ["recover", str(files / "photo.png"), "-o", str(files / "m.png"), "--as", "mask", "--analyzer-weights"]
    for weights in ("busi", "isic"):
        assert run([*mask, weights, "--json", "--force"]) == 0
        told = json.loads(capsys.readouterr().out)["warnings"]
        assert len(told) == 1
        assert f"hidemia {weights} (" in told[0]


def test_what_an_8_bit_view_loses_is_said_and_asked_for(files, capsys):
    soft = np.asarray(Image.open(files / "scan.png")).astype(np.uint16) * 257
    Image.fromarray(soft).save(files / "scan.png")
    for command, output in ((hide, "s.png"), (covert, "out")):
        assert command(files, "-q") == 3
        assert "16 bits a value become the 8" in capsys.readouterr().err
        assert not (files / output).exists()
        assert command(files, "--allow-lossy", "--json") == 0
        assert "16 bits" in json.loads(capsys.readouterr().out)["lost"]


def test_a_deep_dicom_asks_too(files, capsys):
    data = pytest.importorskip("pydicom.data", reason="needs privmed[dicom]")
    scan = data.get_testdata_file("MR_small.dcm", download=False)
    command = ["hide", str(scan), str(files / "photo.jpg"), "-o", str(files / "s.png")]
    assert run(command) == 3
    assert "--allow-lossy" in capsys.readouterr().err
    assert run([*command, "--allow-lossy"]) == 0
    assert "lost" in capsys.readouterr().out
    assert read_wire(files / "s.png").shape == (1, 3, 64, 64)


def test_of_a_cover_any_picture_will_do(files, capsys):
    first = Image.open(files / "photo.jpg")
    first.save(files / "moving.png", save_all=True, append_images=[first.rotate(180)])
    scan, moving = str(files / "scan.png"), str(files / "moving.png")
    assert run(["hide", moving, scan, "-o", str(files / "x.png")]) == 3
    assert "animation of 2 pictures" in capsys.readouterr().err
    assert run(["hide", scan, moving, "-o", str(files / "x.png"), "-q"]) == 0
