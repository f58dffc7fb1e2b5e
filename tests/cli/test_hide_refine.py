"""``privmed hide`` and ``covert`` with ``--refine``: better figures of the written file where asked for, and where the use needs it."""

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


def test_no_value_changes_by_more_than_the_bound(pair, tmp_path, capsys):
    def levels(how):
        hide(pair, tmp_path, capsys, "--refine", how)
        return np.asarray(Image.open(tmp_path / "out.png"), np.int16)

    plain = levels("0")
    assert abs(levels("9[rate=0.4]") - plain).max() > 1
    assert abs(levels("9[rate=0.4;bound=0.5]") - plain).max() == 1  # by rounding


def test_help_names_the_bound_with_its_brackets(capsys):
    assert run(["hide", "--help"]) == 0
    assert "auto[bound=2]" in "".join(capsys.readouterr().out.split())


def test_a_refinement_that_is_no_number_is_refused(pair, tmp_path, capsys):
    assert run(["hide", *pair, "-o", str(tmp_path / "out.png"), "--refine", "lots"]) == 2
    assert "--refine must be auto or a number of steps" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def covert(pair, tmp_path, capsys, *more):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    code = run(["covert", *pair, "-o", str(tmp_path / "whole"), "--force", "--json", *more])
    assert code == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("how", [[], ["--refine", "0"], ["--refine", "3"]], ids=["auto", "0", "3"])
def test_the_whole_way_hides_as_hiding_alone_does(pair, tmp_path, capsys, how):
    alone, whole = hide(pair, tmp_path, capsys, *how), covert(pair, tmp_path, capsys, *how)
    assert (tmp_path / "whole/stego.png").read_bytes() == (tmp_path / "out.png").read_bytes()
    told = ("refined", "stego_psnr", "recovered_psnr", "recovered_worst_patch", "recovered_worst_pixel")
    assert [whole[name] for name in told] == [alone[name] for name in told]
    assert alone["refined"] == (int(how[1]) if how else 20)
    assert ("refined by" in (tmp_path / "whole/report.html").read_text()) == bool(alone["refined"])


def test_of_several_photographs_those_are_refined_that_need_it(pair, tmp_path, capsys):
    scan, clipped = pair
    Image.new("RGB", (64, 64), (110, 120, 130)).save(tmp_path / "soft.png")
    told = covert([scan, str(tmp_path / "soft.png"), clipped], tmp_path, capsys)
    assert [p["refined"] for p in told["photographs"]] == [0, 20]
    (tmp_path / "photos").mkdir()
    Image.open(clipped).save(tmp_path / "photos/a.png")
    assert covert([scan, "--cover", str(tmp_path / "photos")], tmp_path, capsys)["refined"] == 20


def test_strict_refuses_only_what_refining_does_not_mend(pair, tmp_path, capsys, monkeypatch):
    from privmed.covert.fidelity import Fidelity

    figures = [covert(pair, tmp_path, capsys, "--refine", steps)["recovered_psnr"] for steps in ("0", "20")]
    between = Fidelity(mean=sum(figures) / 2, patch=0, pixel=255)
    monkeypatch.setattr("privmed.covert.fidelity.USES", {"measure": between})
    command = ["covert", *pair, "--strict", "-o"]
    assert run([*command, str(tmp_path / "plain"), "--refine", "0"]) == 6
    assert "falls short of the use" in capsys.readouterr().err
    assert not (tmp_path / "plain").exists()
    assert run([*command, str(tmp_path / "mended")]) == 0
    assert "20 steps" in " ".join(capsys.readouterr().out.split())


def test_a_hider_without_gradient_is_refined_only_where_somebody_insists(pair, tmp_path, capsys, monkeypatch):
    from privmed_hiders.lightih import LightIH

    honest = LightIH._recover
    monkeypatch.setattr(LightIH, "_recover", lambda self, *a, **k: honest(self, *a, **k).detach())
    assert covert(pair, tmp_path, capsys)["refined"] == 0
    assert run(["covert", *pair, "-o", str(tmp_path / "never"), "--refine", "2"]) == 2
    assert "no gradient" in capsys.readouterr().err
    assert run(["covert", *pair, "-o", str(tmp_path / "never"), "--refine", "lots"]) == 2
    assert "--refine must be auto or a number of steps" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()
