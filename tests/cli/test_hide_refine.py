"""``privmed hide --refine``: better figures of the written file where asked for, and where the use needs it."""

import json

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run
from privmed.data.samples import ultrasound_phantom

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")


@pytest.fixture
def pair(tmp_path):
    """A scan, and a photograph that is clipped in most places."""
    scan = (ultrasound_phantom(0, side=64)[0][0, 0].numpy() * 255).astype(np.uint8)
    noise = np.kron(np.random.default_rng(0).normal(128, 150, (8, 8, 3)), np.ones((8, 8, 1)))
    Image.fromarray(scan).save(tmp_path / "scan.png")
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    return [str(tmp_path / "scan.png"), str(tmp_path / "photo.png")]


def hide(pair, tmp_path, capsys, *more):
    code = run(["hide", *pair, "-o", str(tmp_path / "out.png"), "--force", "--json", *more])
    assert code == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_refining_gives_the_scan_back_better(pair, tmp_path, capsys):
    plain = hide(pair, tmp_path, capsys, "--refine", "0")
    refined = hide(pair, tmp_path, capsys, "--refine", "8")
    assert (plain["refined"], refined["refined"]) == (0, 8)
    assert refined["recovered_psnr"] > plain["recovered_psnr"] + 0.5
    assert refined["stego_psnr"] > plain["stego_psnr"] - 1
    assert hide(pair, tmp_path, capsys)["refined"] == (20 if plain["warnings"] else 0)


def test_a_refinement_that_is_no_number_is_refused(pair, tmp_path, capsys):
    assert run(["hide", *pair, "-o", str(tmp_path / "out.png"), "--refine", "lots"]) == 2
    assert "--refine must be auto or a number of steps" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
