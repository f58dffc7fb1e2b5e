"""Images under a key, on the command line: the right key gives the scan back, and everything else is one sentence and no file."""

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("cryptography", reason="needs privmed[keys]")

KEYED = ["--hider", "lightih-keyed", "--key", "k"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ("scans", "photos"):
        (tmp_path / folder).mkdir()
        for n in range(2):
            small = Image.fromarray(rng.integers(60, 200, (5, 6, 3)).astype(np.uint8))
            small.resize((64, 48), Image.Resampling.BICUBIC).save(f"{folder}/{n}.png")
    for name in ("k", "other"):
        assert run(["keygen", "--shared", "-o", name, "--quiet"]) == 0
    return tmp_path


def error(found, wanted):
    a, b = (np.array(Image.open(path).convert("RGB")).astype(float) for path in (found, wanted))
    return float(((a - b) ** 2).mean())


def test_the_key_gives_the_scan_back_and_another_does_not(place):
    assert run(["hide", "scans/0.png", "photos/0.png", "-o", "out.png", *KEYED, "--refine", "0", "--quiet"]) == 0
    assert run(["recover", "out.png", "-o", "back.png", *KEYED, "--quiet"]) == 0
    assert run(["recover", "out.png", "-o", "wrong.png", *KEYED[:-1], "other", "--quiet"]) == 0
    assert error("out.png", "photos/0.png") < 60
    assert 20 * error("back.png", "scans/0.png") < error("wrong.png", "scans/0.png")


def test_folders_too_and_by_workers(place):
    assert run(["hide", "scans", "photos", "-o", "stegos", *KEYED, "--refine", "0", "--workers", "1", "--quiet"]) == 0
    assert run(["recover", "stegos", "-o", "backs", *KEYED, "--quiet"]) == 0
    assert all(error(f"backs/{n}.png", f"scans/{n}.png") < 60 for n in range(2))


@pytest.mark.parametrize(
    ("more", "words", "code"),
    [
        (["--hider", "lightih-keyed"], "hides under a key. Give one with --key; privmed keygen --shared makes it", 5),
        (["--hider", "lightih-keyed", "--key", "missing"], "missing", 5),
        (["--hider", "lightih-keyed", "--key", "photos/0.png"], "is no shared key", 5),
        (["--hider", "lightih", "--key", "k"], "--key: lightih hides images and has no key", 2),
        ([*KEYED, "--passphrase-file", "k"], "--passphrase-file: lightih-keyed hides images and has no passphrase", 2),
    ],
)
@pytest.mark.parametrize("command", ["hide", "recover", "hide folder"])
def test_what_does_not_fit_is_told(place, capsys, command, more, words, code):
    given = {
        "hide": ["hide", "scans/0.png", "photos/0.png", "-o", "out.png"],
        "recover": ["recover", "photos/0.png", "-o", "out.png"],
        "hide folder": ["hide", "scans", "photos", "-o", "out.png"],
    }
    assert run([*given[command], *more]) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("privmed:") == 1
    assert not (place / "out.png").exists()
