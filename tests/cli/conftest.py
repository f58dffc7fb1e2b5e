"""Shared by the tests of the command line."""

import os
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image


@pytest.fixture
def files(tmp_path):
    """A scan and a photograph, soft enough to be hidden well."""
    y, x = np.mgrid[0:64, 0:96] / 64
    scan = 127 + 90 * np.sin(5 * x) * np.cos(4 * y)
    photo = np.stack([127 + 100 * np.cos(3 * x + k) * np.sin(2 * y) for k in range(3)], 2)
    Image.fromarray(scan.astype(np.uint8)).save(tmp_path / "scan.png")
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with one good input of every kind, and ``bad/`` with what is none of them."""
    root = tmp_path_factory.mktemp("world")
    _pictures(root)
    _bad_pictures(root / "bad")
    _keys(root)
    (root / "recipe.yaml").write_text(
        "name: tiny\ntask: hiding\nmethod: hider:lightih\nsettings: {blocks: 1}\n"
        f"data: {{root: {root}, covers: photos, secrets: [{{folder: photos}}]}}\n"
    )
    shutil.copytree(root / "set", root / "parts")
    (root / "parts/split.csv").write_text("file,split\n0.png,train\n1.png,test\n")
    for name, content in (("bytes", b"file,split\n\xff,train\n"), ("columns", b"a,b\n0.png,train\n"), ("head", b"")):
        shutil.copytree(root / "classes", root / f"tables/{name}")
        (root / f"tables/{name}/split.csv").write_bytes(content)
        shutil.copytree(root / "classes", root / f"labels/{name}")
        (root / f"labels/{name}/labels.csv").write_bytes(content.replace(b"split", b"label"))
    _mixed(root)
    (root / "taken").mkdir()
    (root / "taken/there.txt").write_text("somebody's")
    (root / "model.onnx").write_bytes(b"a stand-in: its oracle is made by the test")
    (root / "fitted.safetensors").write_bytes(b"somebody's")
    return root


def _pictures(root):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:48] / 40
    scan = (127 + 90 * np.sin(5 * x) * np.cos(4 * y)).astype(np.uint8)
    Image.fromarray(scan).save(root / "scan.png")
    Image.fromarray(np.stack([scan.T[:40, :40]] * 3, 2)).save(root / "photo.jpg", quality=95)
    Image.fromarray(np.stack([scan] * 3, 2)).save(root / "sent.png")
    for folder in ("set/images", "set/masks", "classes/a", "photos"):
        (root / folder).mkdir(parents=True)
    for n in range(2):
        coarse = Image.fromarray(rng.integers(40, 160, (8, 8), dtype=np.uint8))
        picture = coarse.resize((64, 64), Image.Resampling.BICUBIC)
        for folder in ("set/images", "classes/a", "photos"):
            picture.save(root / folder / f"{n}.png")
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        Image.fromarray(mask).save(root / f"set/masks/{n}.png")


def _bad_pictures(bad):
    bad.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(bad / "whole.png")
    (bad / "cut.png").write_bytes((bad / "whole.png").read_bytes()[:900])
    (bad / "empty.png").touch()
    (bad / "text.png").write_text("not a picture " * 20)
    (bad / "folder.png").mkdir()
    Image.fromarray(pixels).save(bad / "animation.png", "GIF")
    Image.fromarray(pixels[:31, :31]).save(bad / "small.png")
    Image.new("CMYK", (64, 64)).save(bad / "cmyk.jpg")
    Image.new("RGBA", (64, 64), (0, 0, 0, 7)).save(bad / "clear.png")
    tifffile.imwrite(bad / "nan.tif", np.full((64, 64), np.nan, np.float32))
    os.mkfifo(bad / "pipe.png")
    (bad / "no-pictures").mkdir()
    (bad / "no-pictures/notes.txt").write_text("nothing")
    (bad / "weights.safetensors").write_bytes(b"no weights")
    (bad / "carded.safetensors").write_bytes(b"no weights")
    (bad / "carded.json").write_text('{"method": "hider:lightih", "config": {}}')
    (bad / "listed.safetensors").write_bytes(b"no weights")
    (bad / "listed.json").write_text("[1, 2]")
    (bad / "list.yaml").write_text("- a\n- b\n")
    (bad / "broken.yaml").write_text("name: [")
    (bad / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    (bad / "unknown.yaml").write_text("name: a\ntask: hiding\nmethod: hider:lightih\nnonsense: 1\n")


def _mixed(root):
    """A set with one good image and every bad one; a pipe is none of a set's files that anybody has sent."""
    (root / "mixed/a").mkdir(parents=True)
    shutil.copy(root / "classes/a/0.png", root / "mixed/a/good.png")
    for path in (root / "bad").iterdir():
        if path.suffix in (".png", ".jpg", ".tif") and path.is_file() and path.name != "whole.png":
            shutil.copy(path, root / "mixed/a" / path.name)


def _keys(root):
    import torch

    import privmed
    from privmed import locks
    from privmed.imaging.wire import write_pixels
    from privmed.keyfile import KeyWriter
    from privmed.shared_key import SharedKey, make_shared_key

    patch = pytest.MonkeyPatch()
    patch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    try:
        writer = KeyWriter(root / "marks.key", [locks.Passphrase("correct horse")])
        writer.add({"owner": "", "secret": b"s", "about": {}, "recipients": []})
        writer.close()
        locks.make_identity(root / "ann")
        make_shared_key(root / "shared.key")
        (root / "bad/upper.key").write_bytes((root / "shared.key").read_bytes().upper())
        (root / "note.txt").write_text("a note")
        held = privmed.hider("lsbm").hide_file(b"a note", torch.rand(1, 3, 40, 48), SharedKey.read(root / "shared.key"))
        write_pixels(root / "held.png", held)
        (root / "bad/cut.key").write_bytes((root / "marks.key").read_bytes()[:-5])
        (root / "bad/header.key").write_bytes((root / "marks.key").read_bytes()[:40])
        (root / "bad/bytes.txt").write_bytes(b"\xff\xfe")
    finally:
        patch.undo()
