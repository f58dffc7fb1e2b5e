"""The command line: exit codes, one sentence an error, files whole or not at all."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import __version__
from privmed.cli import run
from privmed.imaging import read_wire
from privmed.imaging.wire import chunks

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


def test_hide_then_recover_from_the_file(files, capsys):
    stego, back = files / "stego.png", files / "back.png"
    assert run(["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(stego), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(chunks(stego.read_bytes())) == {"IHDR", "IDAT", "IEND"}
    assert run(["recover", str(stego), "-o", str(back), "--quiet"]) == 0
    scan, recovered = (np.asarray(Image.open(p).convert("RGB"), float) for p in (files / "scan.png", back))
    measured = 10 * np.log10(255**2 / ((scan - recovered) ** 2).mean())
    assert measured == pytest.approx(figures["recovered_psnr"], abs=1.0)
    assert measured > 28
    assert capsys.readouterr().out == ""


def test_the_same_command_writes_the_same_bytes(files):
    for name in ("a.png", "b.png"):
        run(["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / name), "-q"])
    assert (files / "a.png").read_bytes() == (files / "b.png").read_bytes()


def test_covert_leaves_files_report_and_figures(files, capsys):
    assert run(["covert", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "out"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"stego_psnr", "response_psnr", "recovered_psnr", "foreground"} <= figures.keys()
    assert sorted(p.name for p in (files / "out").iterdir()) == [
        "error-map.png",
        "mask.png",
        "recovered.png",
        "report.html",
        "response.png",
        "stego.png",
    ]
    page = (files / "out/report.html").read_text()
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 10
    steps = files / "response.png"
    assert run(["analyze", str(files / "out/stego.png"), "-o", str(steps), "-q"]) == 0
    assert torch.equal(read_wire(steps), read_wire(files / "out/response.png"))
    assert run(["recover", str(steps), "-o", str(files / "m.png"), "--as", "mask", "-q"]) == 0
    assert (files / "m.png").read_bytes() == (files / "out/mask.png").read_bytes()


def bad(files):
    scan, photo, out = (str(files / n) for n in ("scan.png", "photo.jpg", "out.png"))
    (files / "text.png").write_text("not a picture " * 20)
    (files / "empty.png").touch()
    Image.new("L", (31, 31)).save(files / "small.png")
    Image.new("CMYK", (64, 64)).save(files / "cmyk.jpg")
    Image.new("RGBA", (64, 64), (0, 0, 0, 7)).save(files / "clear.png")
    f = lambda n: str(files / n)  # noqa: E731
    return [
        (["hide", f("none.png"), photo, "-o", out], 3, "no such file"),
        (["hide", f("text.png"), photo, "-o", out], 3, "neither PNG"),
        (["hide", f("empty.png"), photo, "-o", out], 3, "is empty"),
        (["hide", f("small.png"), photo, "-o", out], 3, "must be at least 32"),
        (["hide", f("cmyk.jpg"), photo, "-o", out], 3, "CMYK"),
        (["hide", f("clear.png"), photo, "-o", out], 3, "transparent"),
        (["hide", scan, photo, "-o", f("out.jpg")], 2, "must be a PNG"),
        (["hide", scan, photo, "-o", f("no/where.png")], 2, "there is no folder"),
        (["hide", scan, photo, "-o", f("clear.png")], 2, "exists already"),
        (["hide", scan, photo, "-o", scan], 2, "is the input"),
        (["hide", scan, photo, "-o", out, "--hider", "lightihh"], 2, "Did you mean 'lightih'?"),
        (["hide", scan, photo, "-o", out, "--weights", "nope"], 4, "no bundled weights"),
        (["hide", scan, photo, "-o", out, "--set", "blocks=7"], 4, "do not fit"),
        (["hide", scan, photo, "-o", out, "--set", "bloks=7"], 2, "Did you mean 'blocks'?"),
        (["hide", scan, photo, "-o", out, "--device", "tpu9"], 2, "cannot be used"),
        (["hide", scan], 2, "Missing argument"),
        (["hidee"], 2, "Did you mean 'hide'?"),
        (["analyze", photo, "-o", out], 3, "compression destroys"),
        (["recover", photo, "-o", out], 3, "compression destroys"),
        (["recover", scan, "-o", out, "--as", "video"], 2, "image, mask or class"),
        (["plugins", "--kind", "hidder"], 2, "Did you mean 'hider'?"),
        (["plugins", "show", "lightih"], 2, "kind:name"),
        (["train", f("none.yaml")], 3, "cannot be read"),
    ]


@pytest.mark.parametrize("case", range(23))
def test_bad_input_gets_one_sentence_a_code_and_no_file(files, capsys, case):
    arguments, code, words = bad(files)[case]
    before = {p: p.read_bytes() for p in files.iterdir() if p.is_file()}
    assert run(arguments) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert {p: p.read_bytes() for p in files.iterdir() if p.is_file()} == before


def test_untrained_hider_writes_nothing(files, capsys, tmp_path):
    """Random weights cannot give the scan back: refused with code 6."""
    from privmed import registry, weights

    hider = registry.create("hider", "lightih", weights=None, blocks=1)
    weights.save(hider, tmp_path / "random.safetensors")
    arguments = [
        "hide",
        str(files / "scan.png"),
        str(files / "photo.jpg"),
        "-o",
        str(files / "o.png"),
        "--weights",
        str(tmp_path / "random.safetensors"),
    ]
    assert run(arguments) == 6
    assert "nothing was written" in capsys.readouterr().err
    assert not (files / "o.png").exists()


def test_ctrl_c_leaves_nothing(files, capsys, monkeypatch):
    from privmed.interfaces import Hider

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Hider, "recover", interrupted)
    before = sorted(files.iterdir())
    assert run(["hide", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(files / "o.png")]) == 130
    assert sorted(files.iterdir()) == before


def test_an_interrupted_training_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    import privmed.training

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(privmed.training, "run", interrupted)
    assert run(["train", str(tmp_path / "r.yaml")]) == 130
    assert "--resume" in capsys.readouterr().err


def test_debug_shows_the_traceback(files, capsys):
    assert run(["hide", "none.png", str(files / "photo.jpg"), "-o", str(files / "o.png"), "--debug"]) == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1] == "privmed: none.png: no such file."


def test_plugins_are_listed_and_shown(capsys):
    assert run(["plugins", "--json"]) == 0
    names = {f"{p['kind']}:{p['name']}" for p in json.loads(capsys.readouterr().out)["plugins"]}
    assert {"hider:hinet", "hider:lightih", "analyzer:hidemia", "analyzer:unet"} <= names
    assert run(["plugins", "show", "hider:lightih", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["weights"]["general"]["parameters"] == 1_012_560
    assert {s["name"] for s in shown["settings"]} == {"alpha", "blocks", "latent"}


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"privmed {__version__}"


@pytest.mark.parametrize("command", ["demo", "plugins", "hide", "analyze", "recover", "covert", "train"])
def test_every_command_has_help_and_the_common_options(command, capsys):
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    wanted = ["--json", "--quiet", "--debug"] + ([] if command == "plugins" else ["--device", "--seed"])
    assert all(option in text for option in wanted)


@pytest.mark.slow
def test_demo_writes_its_report(tmp_path, capsys):
    pytest.importorskip("skimage", reason="needs privmed[demo]")
    pytest.importorskip("pydicom", reason="needs privmed[demo]")
    assert run(["demo", "-o", str(tmp_path / "demo"), "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert len(cases) == 6
    assert all(c["stego_psnr"] > 30 and c["recovered_psnr"] > 30 for c in cases)
