"""Files under a key, on the command line: what comes out is what went in, or one sentence and nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from privmed import locks
from privmed.cli import run

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("cryptography", reason="needs privmed[keys]")

DATA = bytes(range(256)) * 3


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.delenv("PRIVMED_PASSPHRASE", raising=False)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8)).save("beach.png")
    Image.fromarray(rng.integers(0, 256, (90, 110), np.uint8)).save("grey.tif")
    Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8)).save("beach.jpg")
    (tmp_path / "study.dcm").write_bytes(DATA)
    assert run(["keygen", "--shared", "-o", "k", "--quiet"]) == 0
    return tmp_path


def told(capsys, arguments, code=0):
    """What a command says to programs, and to people."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_file_comes_back_whole(place, capsys):
    """The hider named or not; figures are those of the written file."""
    found, _ = told(capsys, ["hide", "study.dcm", "beach.png", "-o", "out.png", "--hider", "lsbm", "--key", "k"])
    told(capsys, ["recover", "out.png", "-o", "back.dcm", "--key", "k"])
    assert (place / "back.dcm").read_bytes() == DATA
    stego, cover = (np.array(Image.open(name)).astype(int) for name in ("out.png", "beach.png"))
    assert found["size"] == [70, 90]
    assert found["bytes"] == len(DATA)
    assert found["changed_pixels"] == (stego != cover).any(2).sum()
    assert found["changed_share"] == pytest.approx(found["changed_pixels"] / (70 * 90))
    assert found["stego_psnr"] == pytest.approx(10 * np.log10(255**2 / ((stego - cover) ** 2).mean()), abs=1e-3)
    assert found["bits_per_pixel"] == pytest.approx(8 * found["compressed"] / (70 * 90))
    assert found["capacity_used"] == pytest.approx(found["compressed"] / found["capacity"])
    assert found["warnings"] == []
    assert run(["hide", "study.dcm", "beach.png", "-o", "again.png", "--key", "k"]) == 0
    assert (place / "again.png").read_bytes() != (place / "out.png").read_bytes()


def test_a_passphrase_does_as_well(place, capsys, monkeypatch):
    (place / "words").write_text("correct horse\n")
    assert run(["hide", "study.dcm", "beach.png", "-o", "out.png", "--passphrase-file", "words"]) == 0
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")
    assert run(["recover", "out.png", "-o", "back", "--hider", "lsbm"]) == 0
    assert (place / "back").read_bytes() == DATA
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "wrong horse")
    found, _ = told(capsys, ["recover", "out.png", "-o", "b2", "--hider", "lsbm"], 5)
    assert "out.png: nothing in it opens with this key" in found["error"]["message"]


def test_without_any_key_it_says_where_to_put_one(place, capsys):
    found, _ = told(capsys, ["hide", "study.dcm", "beach.png", "-o", "out.png", "--hider", "lsbm"], 5)
    assert found["error"]["message"].endswith("set PRIVMED_PASSPHRASE, or give --passphrase-file or --key.")


def test_grey_stays_grey_and_a_jpeg_is_warned_of(place, capsys):
    assert run(["hide", "study.dcm", "grey.tif", "-o", "grey.png", "--key", "k"]) == 0
    with Image.open("grey.png") as file:
        assert (file.mode, file.size) == ("L", (110, 90))
    found, err = told(capsys, ["hide", "study.dcm", "beach.jpg", "-o", "colour.png", "--key", "k"])
    assert "beach.jpg is a JPEG" in found["warnings"][0]
    assert "warning: beach.jpg is a JPEG" in err
    for name in ("grey.png", "colour.png"):
        assert run(["recover", name, "-o", f"{name}.back", "--key", "k"]) == 0
        assert (place / f"{name}.back").read_bytes() == DATA


def test_altered_and_foreign_images_are_told_apart(place, capsys):
    assert run(["hide", "study.dcm", "beach.png", "-o", "out.png", "--key", "k"]) == 0
    pixels = np.array(Image.open("out.png"))
    pixels[1, 1, 1] ^= 128
    Image.fromarray(pixels).save("altered.png")
    assert run(["keygen", "--shared", "-o", "other", "--quiet"]) == 0
    for arguments, code, words in (
        (["altered.png", "--key", "k"], 6, "altered.png: the key fits, but the image was altered"),
        (["out.png", "--key", "other"], 5, "out.png: nothing in it opens with this key"),
        (["beach.png", "--key", "k"], 5, "or nothing is hidden here"),
    ):
        found, _ = told(capsys, ["recover", *arguments, "-o", "back"], code)
        assert words in found["error"]["message"]
        assert not (place / "back").exists()


def test_what_does_not_come_back_is_not_written(place, capsys, monkeypatch):
    from privmed.interfaces import FileHider

    monkeypatch.setattr(FileHider, "recover_file", lambda *_: b"something else")
    found, _ = told(capsys, ["hide", "study.dcm", "beach.png", "-o", "out.png", "--key", "k"], 6)
    assert "is not study.dcm" in found["error"]["message"]
    assert not (place / "out.png").exists()


def test_a_key_is_never_overwritten(place, capsys):
    assert run(["hide", "study.dcm", "beach.png", "-o", "out.png", "--key", "k"]) == 0
    before = (place / "k").read_bytes()
    found, _ = told(capsys, ["recover", "out.png", "-o", "k", "--key", "k", "--force"], 2)
    assert "is the input k" in found["error"]["message"]
    assert (place / "k").read_bytes() == before
