"""``--peak``: the client marks only regions that are sure somewhere."""

import json

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")


def marked(path):
    return int((np.asarray(Image.open(path)) > 0).sum())


def test_a_peak_takes_back_what_does_not_reach_it(files, capsys):
    """Nothing here reaches 0.993, and what is marked a half. The response stays what it was, and what is written says how it was read."""
    responses, masks = [], []
    for peak in ("0.5", "0.993"):
        out = files / f"out{peak}"
        told = ["covert", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(out), "--peak", peak, "--json"]
        assert run(told) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["foreground"] > 0) == (peak == "0.5")
        assert said["weights"]["analyzer"]["peak"] == float(peak)
        assert f"regions that reach {peak}" in (out / "report.html").read_text()
        responses.append((out / "response.png").read_bytes())
        masks.append(marked(out / "mask.png"))
    assert responses[0] == responses[1]
    assert masks[0] > 0 == masks[1]
    again = ["recover", str(files / "out0.5/response.png"), "--as", "mask", "-o"]
    for peak, count in (("0.5", masks[0]), ("0.993", 0)):
        assert run([*again, str(files / f"mask{peak}.png"), "--peak", peak]) == 0
        assert marked(files / f"mask{peak}.png") == count


def test_a_peak_that_makes_no_sense_is_told(files, capsys):
    photo = str(files / "photo.jpg")
    Image.open(photo).save(files / "photo.png")
    for told, words in (
        (["recover", str(files / "photo.png"), "-o", str(files / "x.png"), "--peak", "0.9"], "--as mask"),
        (
            ["covert", str(files / "scan.png"), photo, "-o", str(files / "x"), "--peak", "1.2"],
            "less than or equal to 1",
        ),
    ):
        assert run(told) == 2
        assert words in capsys.readouterr().err
    assert not (files / "x").exists()
