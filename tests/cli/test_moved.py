"""Marked images under other names than they were published under: told apart, never lifted under the wrong name, restored on demand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import locks, oracles
from privmed.cli import run
from privmed.data.folders import ImageFolder
from privmed.data.keyring import Keyring, names_of
from privmed.imaging import read
from privmed.keyfile import KeyWriter, read_key
from privmed.locks import Passphrase

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytest.importorskip("cryptography", reason="needs privmed[keys]")
SMALL = ["--set", "population=6", "--set", "generations=1", "--set", "hops=1", "-q"]
WORDS = "correct horse"


class Judge:
    """Says b as soon as the image is brighter than a threshold; an oracle that needs no file."""

    name, classes = "judge", ["a", "b"]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        lead = 40 * (images.mean((1, 2, 3)) - 0.46)
        return torch.stack([-lead, lead], 1).softmax(1)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", WORDS)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(oracles, "load_oracle", lambda *_, **__: Judge())
    monkeypatch.setattr(oracles, "fingerprint", lambda _: "judge")
    return tmp_path / "judge.onnx"


@pytest.fixture
def originals(tmp_path):
    """Two patients of class a, two of class b; names repeat across the classes."""
    root, rng = tmp_path / "set", np.random.default_rng(0)
    for label in "ab":
        (root / label).mkdir(parents=True)
        for n in range(2):
            coarse = Image.fromarray(rng.integers(40, 160, (8, 8), dtype=np.uint8))
            coarse.resize((64, 64), Image.Resampling.BICUBIC).save(root / label / f"{n}.png")
    return root


@pytest.fixture
def marked(originals, model, tmp_path):
    """The published set; its key is ``k`` beside it."""
    out, command = tmp_path / "out", ["watermark", str(originals), "--key", str(tmp_path / "k"), "--model", str(model)]
    assert run([*command, "-o", str(out), *SMALL]) == 0
    return out


def verify(folder: Path, capsys) -> tuple[int, dict[str, dict]]:
    capsys.readouterr()
    code = run(["verify", str(folder), "--key", str(folder_key(folder)), "--json"])
    return code, {line["file"]: line for line in json.loads(capsys.readouterr().out)["images"]}


def folder_key(folder: Path) -> Path:
    return next(parent / "k" for parent in folder.parents if (parent / "k").is_file())


def unlock(folder: Path, back: Path, capsys, *more: str) -> tuple[int, dict[str, str]]:
    capsys.readouterr()
    code = run(["unlock", str(folder), "-o", str(back), "--key", str(folder_key(folder)), "--json", *more])
    return code, {line["file"]: line["reason"] for line in json.loads(capsys.readouterr().out)["failed"]}


def names(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))


def equal(back: Path, originals: Path) -> bool:
    """Whether everything written is the original of its own name."""
    return all(np.array_equal(read(back / n).pixels, read(originals / n).pixels) for n in names(back))


def swap(a: Path, b: Path) -> None:
    c = a.with_suffix(".tmp")
    a.rename(c)
    b.rename(a)
    c.rename(b)


def test_swapped_images_are_told_and_not_given_the_wrong_name(marked, originals, tmp_path, capsys):
    swap(marked / "a/0.png", marked / "b/0.png")
    code, told = verify(marked, capsys)
    assert code == 6
    assert {n: line["state"] for n, line in told.items()} == {
        "a/0.png": "moved",
        "a/1.png": "untouched",
        "b/0.png": "moved",
        "b/1.png": "untouched",
    }
    assert (told["a/0.png"]["name"], told["b/0.png"]["name"]) == ("b/0.png", "a/0.png")
    assert run(["verify", str(marked), "--key", str(tmp_path / "k")]) == 6
    assert "a/0.png: marked, pixels untouched, but under another name: it is b/0.png" in capsys.readouterr().out
    code, failed = unlock(marked, tmp_path / "back", capsys)
    assert code == 1
    assert failed.keys() == {"a/0.png", "b/0.png"}
    assert "it is b/0.png" in failed["a/0.png"]
    assert names(tmp_path / "back") == ["a/1.png", "b/1.png"]
    assert unlock(marked, tmp_path / "right", capsys, "--restore-names") == (0, {})
    assert names(tmp_path / "right") == names(originals)
    assert equal(tmp_path / "right", originals)


def test_a_class_is_not_told_by_the_folder_that_is_looked_at(marked, capsys):
    """The class folder alone: its own images are at home in it, images of the same name from another class are not."""
    assert verify(marked / "a", capsys)[0] == 0
    swap(marked / "a/0.png", marked / "b/0.png")
    code, told = verify(marked / "a", capsys)
    assert code == 6
    assert (told["0.png"]["state"], told["1.png"]["state"]) == ("moved", "untouched")


@pytest.mark.parametrize("how", ["flattened", "renamed", "deeper"])
def test_a_set_whose_folders_were_changed_comes_back_under_its_names(marked, originals, tmp_path, capsys, how):
    found = tmp_path / "found"
    found.mkdir()
    for name in names(marked):
        label, number = name.split("/")
        to = {"flattened": f"{label}-{number}", "renamed": f"class {label}/{number}", "deeper": f"x/y/{name}"}[how]
        (found / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(marked / name, found / to)
    code, failed = unlock(found, tmp_path / "back", capsys)
    assert (code, len(failed)) == (1, 4)
    assert names(tmp_path / "back") == []
    assert unlock(found, tmp_path / "right", capsys, "--restore-names") == (0, {})
    assert names(tmp_path / "right") == names(originals)
    assert equal(tmp_path / "right", originals)
    lines = [json.loads(line) for line in (tmp_path / "right/manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == names(originals)


def test_copies_are_named_and_written_once(marked, originals, tmp_path, capsys):
    shutil.copy(marked / "b/1.png", marked / "a/0-copy.png")  # comes before it in the order of names
    code, told = verify(marked, capsys)
    assert code == 6
    assert told["a/0-copy.png"] == {
        "file": "a/0-copy.png",
        "state": "moved",
        "owner": str(tmp_path / "k"),
        "name": "b/1.png",
        "copy": True,
    }
    assert not told["b/1.png"]["copy"]
    code, failed = unlock(marked, tmp_path / "back", capsys, "--restore-names")
    assert code == 1
    assert list(failed) == ["a/0-copy.png"]
    assert "is a copy of b/1.png" in failed["a/0-copy.png"]
    assert names(tmp_path / "back") == names(originals)
    assert equal(tmp_path / "back", originals)


def test_the_unicode_form_of_a_name_is_no_move(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("L", (40, 40)).save(folder / "e\u0301.png")  # as a Mac writes é
    [item] = ImageFolder(folder).present()
    picture = read(item.image)
    from privmed.imaging.record import fingerprint

    entry = {"file": "\u00e9.png", "record": {"marked": fingerprint(picture.pixels), "original": ""}}
    ring = Keyring([("k", [entry])])
    assert ring.find(picture, names_of(ImageFolder(folder), item))[0] == "untouched"


def forge(tmp_path: Path, name: str) -> Path:
    """The key again, with another name for the first image: as whoever can open it can write it."""
    entries = read_key(tmp_path / "k", [Passphrase(WORDS)])
    writer = KeyWriter(tmp_path / "forged", [Passphrase(WORDS)])
    for n, entry in enumerate(entries):
        writer.add({**entry, "file": name} if n == 1 else entry)
    return writer.close()


@pytest.mark.parametrize("more", [[], ["--restore-names"]])
def test_a_hostile_key_writes_nowhere_else(marked, tmp_path, capsys, more):
    victim = tmp_path / "private/x.png"
    victim.parent.mkdir()
    victim.write_bytes(b"precious")
    key = forge(tmp_path, "../private/x.png")
    command = ["unlock", str(marked), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]
    assert run([*command, *more]) == 3
    assert "'../private/x.png' leads upwards" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()
    assert victim.read_bytes() == b"precious"
    assert run(["verify", str(marked), "--key", str(key), "-q"]) == 3


@pytest.mark.parametrize("table", ["labels.csv", "split.csv", "groups.csv"])
@pytest.mark.parametrize("name", ["../private/x.png", "../set/a/0.png", "/etc/x.png"])
def test_hostile_tables_do_not_lead_watermark_out(originals, model, tmp_path, capsys, table, name):
    (tmp_path / "private").mkdir()
    shutil.copy(originals / "a/0.png", tmp_path / "private/x.png")
    column = table[:-5] if table != "split.csv" else "split"
    (originals / table).write_text(f"file,{column}\na/0.png,a\n{name},a\n")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.png")}
    command = ["watermark", str(originals), "-o", str(tmp_path / "out"), "--key", str(tmp_path / "k")]
    assert run([*command, "--model", str(model), *SMALL]) == 3
    assert repr(name) in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.png")} == before
    assert not (tmp_path / "k").exists()
