"""``privmed covert`` with several photographs, and with a folder to choose from."""

import json

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


@pytest.fixture
def photographs(files):
    """Three photographs in a folder: one that hides a scan well, and two with less and less room."""
    photo = np.asarray(Image.open(files / "photo.jpg"), float)
    (files / "photos").mkdir()
    for name, image in (("a-white", np.full_like(photo, 255)), ("b-soft", photo), ("c-bright", 200 + photo / 5)):
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(files / f"photos/{name}.png")
    return files / "photos"


def covert(files, *arguments):
    return run(["covert", str(files / "scan.png"), "-o", str(files / "out"), *map(str, arguments)])


def test_several_photographs_are_averaged(files, photographs, capsys):
    names = ["b-soft.png", "c-bright.png"]
    assert covert(files, *(photographs / n for n in names), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [p["cover"].rpartition("/")[2] for p in told["photographs"]] == names
    assert 0 <= told["disagreement"] <= 1
    made = {p.name for p in (files / "out").iterdir()}
    each = {f"{k}-{n}.png" for k in (1, 2) for n in ("stego", "response", "recovered", "error-map", "mask")}
    assert made == each | {"mask.png", "uncertainty.png", "report.html"}
    mask = np.asarray(Image.open(files / "out/mask.png")) > 0
    assert told["foreground"] == pytest.approx(mask.mean())
    assert "All photographs together" in (files / "out/report.html").read_text()
    assert covert(files, *(photographs / n for n in names), "--json") == 2
    assert "exists already" in capsys.readouterr().err
    assert covert(files, *(photographs / n for n in names), "--force") == 0
    assert "disagree by" in " ".join(capsys.readouterr().out.split())


def test_one_photograph_gives_what_it_gave(files, photographs, capsys):
    assert covert(files, photographs / "b-soft.png", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert "disagreement" not in told
    assert {"stego_psnr", "foreground", "outcome"} <= told.keys()
    assert not (files / "out/uncertainty.png").exists()


def test_the_best_of_a_folder_are_taken(files, photographs, capsys):
    assert covert(files, "--cover", photographs, "--json") == 0
    assert json.loads(capsys.readouterr().out)["cover"].endswith("b-soft.png")
    assert covert(files, "--cover", photographs, "--covers", 2, "--force", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [p["cover"].rpartition("/")[2] for p in told["photographs"]] == ["b-soft.png", "c-bright.png"]
    made = {p.name for p in (files / "out").iterdir()}
    assert not made & {"stego.png", "response.png", "recovered.png"}  # of the run before, as it was forced
    (files / "out/notes.txt").touch()
    assert covert(files, photographs / "b-soft.png", "--force") == 0
    made = {p.name for p in (files / "out").iterdir()}
    assert made == {
        "stego.png",
        "response.png",
        "recovered.png",
        "error-map.png",
        "mask.png",
        "report.html",
        "notes.txt",
    }


def test_what_makes_no_sense_is_told(files, photographs, capsys):
    photo = photographs / "b-soft.png"
    for arguments, code, words in (
        ([], 2, "name one photograph or several"),
        ([photo, "--covers", 2], 2, "name one photograph or several"),
        ([photo, "--cover", photographs], 2, "name none beside it"),
        (["--cover", photographs, "--covers", 4], 3, "holds 3 different pictures that are not the scan, too few"),
        (["--cover", files / "nowhere"], 3, "no such folder"),
        ([photo, "--hider", "lightih-keyed"], 2, "hides under a key, and nothing can be analysed in that"),
        ([photo, "--hider", "lsbm"], 2, "carries files under a key"),
    ):
        assert covert(files, *arguments) == code
        assert words in capsys.readouterr().err
        assert not (files / "out").exists()


def test_a_photograph_named_twice_and_the_scan_itself_are_refused(files, photographs, capsys):
    """Two answers from one photograph would seem to agree; a scan in itself is sent in the open."""
    soft, again = photographs / "b-soft.png", photographs / "again.png"
    again.write_bytes(soft.read_bytes())
    assert covert(files, soft, again) == 3
    assert "was named before, or is the same picture" in capsys.readouterr().err
    assert covert(files, files / "scan.png") == 3
    assert "is the scan itself" in capsys.readouterr().err
    assert covert(files, "--cover", photographs, "--covers", 4) == 3
    assert "holds 3 different pictures that are not the scan, too few" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_a_forced_run_removes_no_file_that_it_was_given(files, photographs, capsys):
    (files / "out").mkdir()
    scan, photo = files / "out/3-stego.png", files / "out/2-recovered.png"
    scan.write_bytes((files / "scan.png").read_bytes())
    photo.write_bytes((photographs / "b-soft.png").read_bytes())
    assert run(["covert", str(scan), str(photo), "-o", str(files / "out"), "--force"]) == 2
    assert "is the input" in capsys.readouterr().err
    assert scan.exists()
    assert photo.exists()
