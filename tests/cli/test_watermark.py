"""``privmed watermark``, ``unlock`` and ``verify`` on small folders: bit-exact in every format, and every refusal is one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from privmed import locks
from privmed.cli import run
from privmed.data.samples import ultrasound_phantom
from privmed.imaging import read
from privmed.keyfile import part_of, read_key
from privmed.locks import Passphrase

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytestmark = pytest.mark.usefixtures("in_process")
pytest.importorskip("cryptography", reason="needs privmed[keys]")
SMALL = ["--trust-model", "--set", "population=6", "--set", "generations=1", "--set", "hops=1"]


class Judge(torch.nn.Module):
    """Says b as soon as the image is brighter than a threshold; a is dark."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lead = 40 * (x.mean((1, 2, 3)) - 0.46)
        return torch.stack([-lead, lead], 1)


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")


@pytest.fixture
def model(tmp_path):
    """A TorchScript model with its description."""
    path = tmp_path / "judge.pt"
    torch.jit.save(torch.jit.script(Judge()), path)
    declare(path)
    return path


def declare(path: Path, **changes) -> None:
    plain = {
        "classes": ["a", "b"],
        "size": 64,
        "mean": [0, 0, 0],
        "deviation": [1, 1, 1],
        "answers": "logits",
        **changes,
    }
    path.with_suffix(".json").write_text(json.dumps(plain))


@pytest.fixture
def folder(tmp_path):
    """Class folders with 8- and 16-bit PNG, RGB, TIFF and DICOM."""
    root = tmp_path / "set"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
    for i in range(3):
        view = ultrasound_phantom(i, side=64 + 8 * i)[0][0, 0].numpy()
        deep, flat = (view * 65535).round().astype(np.uint16), (view * 255).round().astype(np.uint8)
        (root / f"a/grey{i}.png").write_bytes(imagecodecs.png_encode(flat))
        if i == 0:
            (root / "a/deep.png").write_bytes(imagecodecs.png_encode(deep))
            (root / "a/colour.png").write_bytes(imagecodecs.png_encode(np.stack([deep, deep // 2, deep], 2)))
            tifffile.imwrite(root / "b/scan.tif", deep)
    return root


def add_ct(root: Path) -> None:
    """A signed 16-bit CT slice whose window shows a small part of its range."""
    data = pytest.importorskip("pydicom.data", reason="needs privmed[dicom]")
    shutil.copy(data.get_testdata_file("CT_small.dcm", download=False), root / "b/ct.dcm")


def mark(folder, out, key, model, *more) -> int:
    return run(
        ["watermark", str(folder), "-o", str(out), "--key", str(key), "--model", str(model), *SMALL, "-q", *more]
    )


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix in (".png", ".tif", ".dcm"))


def test_marks_come_off_bit_for_bit_in_every_format(folder, tmp_path, model):
    add_ct(folder)
    out, key, back = tmp_path / "out", tmp_path / "k.key", tmp_path / "back"
    assert mark(folder, out, key, model) == 0
    assert files(out) == files(folder)
    for name in files(folder):
        before, after = read(folder / name), read(out / name)
        assert (before.bits, before.pixels.shape, before.pixels.dtype) == (
            after.bits,
            after.pixels.shape,
            after.pixels.dtype,
        )
        assert not np.array_equal(before.pixels, after.pixels)
        assert (before.tensor() - after.tensor()).abs().max() > 0.2, "the mark cannot be seen"
    assert run(["unlock", str(out), "-o", str(back), "--key", str(key), "-q"]) == 0
    for name in files(folder):
        before, after = read(folder / name), read(back / name)
        assert before.pixels.dtype == after.pixels.dtype
        assert np.array_equal(before.pixels, after.pixels)


def test_dicom_tags_come_back(folder, tmp_path, model):
    pydicom = pytest.importorskip("pydicom")
    add_ct(folder)
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 0
    assert run(["unlock", str(tmp_path / "out"), "-o", str(tmp_path / "back"), "--key", str(tmp_path / "k"), "-q"]) == 0
    source, marked, back = (pydicom.dcmread(d / "b/ct.dcm") for d in (folder, tmp_path / "out", tmp_path / "back"))
    assert marked.SOPInstanceUID != source.SOPInstanceUID
    assert marked.ImageType[0] == "DERIVED"
    assert back == source


def test_manifest_and_files_tell_no_secrets(folder, tmp_path, model, capsys):
    out, key = tmp_path / "out", tmp_path / "k"
    assert (
        run(["watermark", str(folder), "-o", str(out), "--key", str(key), "--model", str(model), *SMALL, "--json"]) == 0
    )
    said = capsys.readouterr()
    entries = read_key(key, [Passphrase("correct horse")])
    lines = [json.loads(x) for x in (out / "manifest.jsonl").read_text().splitlines()]
    allowed = {"file", "source_sha256", "sha256"}  # no figure, with which a guess of the original could be checked
    allowed |= {"watermarker", "config", "where", "keep_out", "share", "model", "logo"}
    assert all(set(line) == allowed for line in lines)
    text = (out / "manifest.jsonl").read_text() + said.out + said.err
    assert entries[0]["secret"].hex() not in text
    for entry in entries[1:]:
        assert entry["record"]["original"] not in text
    from privmed.data.drafts import digest

    assert not {line["source_sha256"] for line in lines} & {digest(p) for p in folder.rglob("*.png")}


def test_wrong_key_altered_and_strange_images_are_told_apart(folder, tmp_path, model, monkeypatch, capsys):
    out, key = tmp_path / "out", tmp_path / "k"
    assert mark(folder, out, key, model) == 0
    with Image.open(out / "a/grey0.png") as opened:
        opened.save(tmp_path / "j.jpg", quality=90)
    Image.open(tmp_path / "j.jpg").save(out / "a/grey0.png")  # encoded anew
    changed = read(out / "a/grey1.png").pixels.copy()
    changed[0, 0] ^= 1
    (out / "a/grey1.png").write_bytes(imagecodecs.png_encode(changed))
    stranger = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    (out / "a/stranger.png").write_bytes(imagecodecs.png_encode(stranger))
    shutil.copy(folder / "a/grey2.png", out / "a/grey2.png")
    (out / "b/broken.png").write_bytes(b"\x89PNG")
    capsys.readouterr()
    assert run(["unlock", str(out), "-o", str(tmp_path / "back"), "--key", str(key), "--json"]) == 1
    told = {f["file"]: f["reason"] for f in json.loads(capsys.readouterr().out)["failed"]}
    expected = {"a/grey0.png": "altered", "a/grey1.png": "altered", "a/stranger.png": "not in the key"}
    expected |= {"a/grey2.png": "original already", "b/broken.png": "broken.png"}
    assert told.keys() == expected.keys()
    for name, words in expected.items():
        assert words in told[name]
        assert not (tmp_path / "back" / name).exists()
    assert files(tmp_path / "back") == ["a/colour.png", "a/deep.png", "b/scan.tif"]
    assert run(["verify", str(out), "--key", str(key), "--json"]) == 6
    states = {i["file"]: i["state"] for i in json.loads(capsys.readouterr().out)["images"]}
    assert states["a/grey0.png"] == states["a/grey1.png"] == "altered"
    assert states["a/stranger.png"] == "unknown"
    assert states["a/grey2.png"] == "original"
    assert states["a/deep.png"] == "untouched"
    assert states["b/broken.png"] == "unreadable"
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "wrong")
    assert run(["unlock", str(out), "-o", str(tmp_path / "no"), "--key", str(key), "-q"]) == 5
    assert not (tmp_path / "no").exists()


def test_recipients_open_and_say_whose_it_is(folder, tmp_path, model, monkeypatch, capsys):
    monkeypatch.delenv("PRIVMED_PASSPHRASE")
    for name in ("ann", "eve"):
        assert run(["keygen", "-o", str(tmp_path / name), "-q"]) == 0
    out, key = tmp_path / "out", tmp_path / "k"
    assert mark(folder, out, key, model, "--recipient", str(tmp_path / "ann.pub"), "--owner", "St. Mary") == 0
    common = [str(out), "--key", str(key), "--json", "--identity"]
    capsys.readouterr()
    assert run(["verify", *common, str(tmp_path / "ann")]) == 0
    assert {i["owner"] for i in json.loads(capsys.readouterr().out)["images"]} == {"St. Mary"}
    assert run(["verify", *common, str(tmp_path / "eve")]) == 5


def test_interrupted_and_resumed_equals_uninterrupted(folder, tmp_path, model, monkeypatch):
    whole = ["--seed", "3", "--together", "2"]
    assert mark(folder, tmp_path / "one", tmp_path / "k1", model, *whole) == 0
    from privmed.data import watermark as layer

    publish, count = layer._publish, []

    def stop(*args):
        if len(count) == 3:
            raise KeyboardInterrupt
        count.append(1)
        publish(*args)

    monkeypatch.setattr(layer, "_publish", stop)
    assert mark(folder, tmp_path / "two", tmp_path / "k2", model, *whole) == 130
    monkeypatch.setattr(layer, "_publish", publish)
    assert part_of(tmp_path / "k2").exists()
    assert not (tmp_path / "k2").exists()
    assert mark(folder, tmp_path / "two", tmp_path / "k2", model, *whole) == 2  # says that --resume is needed
    assert mark(folder, tmp_path / "two", tmp_path / "k2", model, *whole, "--resume") == 0
    for name in files(folder):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    words = [Passphrase("correct horse")]
    assert read_key(tmp_path / "k1", words) == read_key(tmp_path / "k2", words)


def test_lesions_are_spared(tmp_path, model, capsys):
    root = tmp_path / "set"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rows = ["file,label"]
    for i in range(4):
        image, mask = ultrasound_phantom(i, side=96)
        mask = {2: torch.ones_like(mask), 3: torch.zeros_like(mask)}.get(i, mask)
        for part, x in (("images", image), ("masks", mask)):
            flat = (x[0, 0].numpy() * 255).round().astype(np.uint8)
            (root / f"{part}/p{i}.png").write_bytes(imagecodecs.png_encode(flat))
        rows.append(f"p{i}.png,a")
    (root / "labels.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    where = ["--where", "outside"]
    assert (
        run(
            [
                "watermark",
                str(root),
                "-o",
                str(out),
                "--key",
                str(tmp_path / "k"),
                "--model",
                str(model),
                *SMALL,
                *where,
                "--json",
            ]
        )
        == 1
    )
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert [f["file"] for f in failed] == ["images/p2.png"]
    assert "no place" in failed[0]["reason"]
    for i in (0, 1):
        before, after, mask = (read(d / f"p{i}.png").pixels for d in (root / "images", out / "images", root / "masks"))
        assert (before != after).any()
        assert np.array_equal(before[mask > 0], after[mask > 0])
        assert (out / f"masks/p{i}.png").exists()
    assert mark(root, tmp_path / "in", tmp_path / "k2", model, "--where", "inside") == 1  # the empty mask has no inside


def test_bad_input_is_one_sentence(folder, tmp_path, model, capsys, monkeypatch):
    def fails(code: int, words: str, *more, given=None) -> None:
        capsys.readouterr()
        assert mark(folder, tmp_path / "x", tmp_path / "kx", given or model, *more) == code
        said = capsys.readouterr().err
        assert words in said, said
        assert "Traceback" not in said
        assert not (tmp_path / "kx").exists()
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        assert not part_of(tmp_path / "kx").exists()

    fails(2, "outside", "--where", "outsid")
    fails(2, "expected a file ending", given=tmp_path / "model.h5")
    fails(4, "no such file", given=tmp_path / "no.pt")
    declare(model, answers="words", size=0)
    fails(2, "2 mistakes")
    declare(model, answers="probabilities")
    fails(3, '"answers": "logits"')
    declare(model, classes=["a", "b", "c"])
    fails(3, "3 classes are declared")
    model.with_suffix(".json").unlink()
    fails(2, "nothing is declared")
    declare(model)
    fails(3, "no such file", "--logo", str(tmp_path / "none.png"))
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "")
    fails(5, "passphrase is empty")


def test_classes_the_model_does_not_know_are_left_out(folder, tmp_path, model, capsys):
    (folder / "c").mkdir()
    shutil.copy(folder / "a/grey0.png", folder / "c/x.png")
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 1
    assert not (tmp_path / "out/c/x.png").exists()
    assert (tmp_path / "out/a/grey0.png").exists()


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(folder, tmp_path, model, capsys):
    """Staged on a small file system that grows afterwards."""
    out, key = tmp_path / "disk", tmp_path / "k"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=36k", "none", str(out)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        assert mark(folder, out / "set", key, model, "--seed", "1") == 2
        assert "No space" in capsys.readouterr().err
        assert not list((out / "set").rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(out)], check=True)
        assert mark(folder, out / "set", key, model, "--seed", "1", "--resume") == 0
        assert run(["unlock", str(out / "set"), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]) == 0
        for name in files(folder):
            assert np.array_equal(read(folder / name).pixels, read(tmp_path / "back" / name).pixels)
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_a_part_of_a_set_is_published_and_unlocked_as_a_part(folder, tmp_path, model, capsys):
    """Tables name only what is there, and what somebody passes on is taken as it is."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    (folder / "split.csv").write_text("file,split\n" + "".join(f"{n},train\n" for n in names))
    out, key = tmp_path / "out", tmp_path / "k"
    assert mark(folder, out, key, model, "--split", "train", "--limit", "3") == 0
    assert (out / "split.csv").read_text().splitlines() == ["file,split", *(f"{n},train" for n in names[:3])]
    (folder / "split.csv").write_text(f"file,split\n{names[0]},train\n")
    capsys.readouterr()
    assert (
        run(
            [
                "watermark",
                str(folder),
                "-o",
                str(tmp_path / "o"),
                "--key",
                str(tmp_path / "k2"),
                "--model",
                str(model),
                *SMALL,
            ]
        )
        == 0
    )
    assert f"{len(names)} pictures are not named in split.csv" in capsys.readouterr().out  # a TIFF is there as well
    (out / names[0]).unlink()
    assert run(["unlock", str(out), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]) == 0
    assert files(tmp_path / "back") == names[1:3]
    capsys.readouterr()
    assert run(["verify", str(out), "--key", str(key), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 2
