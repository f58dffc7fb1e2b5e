"""What a file may cost is known before it is decoded, and every reader keeps to it."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import attrs
import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from privmed import limits, registry, weights
from privmed.bench.plan import read_plan
from privmed.bench.reported import read_paper
from privmed.cli import run
from privmed.data.folders import ImageFolder
from privmed.errors import InputError, KeyFileError, SettingsError, WeightsError
from privmed.imaging import read
from privmed.imaging.logo import read_logo
from privmed.imaging.wire import read_wire
from privmed.keyfile import read_key
from privmed.oracles import fingerprint, load_oracle
from privmed.training.recipe import read_recipe


def png(width: int, height: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey PNG of zeros."""
    rows = zlib.compress(bytes((width * depth + 7) // 8 + 1) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + body


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_a_small_png_of_many_pixels_is_refused_as_a_cover(tmp_path, capsys):
    scan, bomb, stego = (tmp_path / f"{name}.png" for name in ("scan", "bomb", "stego"))
    Image.new("L", (64, 64), 90).save(scan)
    bomb.write_bytes(png(13_000, 13_000, 1))
    assert bomb.stat().st_size < 100_000
    code = run(["hide", str(scan), str(bomb), "-o", str(stego)])
    said = capsys.readouterr().err
    assert code == 3
    assert "13000 x 13000 = 169,000,000 pixels, more than the limit of 100,000,000" in said
    assert "PRIVMED_MAX_PIXELS" in said
    assert not stego.exists()


def test_a_photograph_of_twelve_megapixels_is_read(tmp_path):
    Image.new("RGB", (4000, 3000), (90, 80, 70)).save(tmp_path / "photo.jpg")
    assert read(tmp_path / "photo.jpg").size == (3000, 4000)


@pytest.mark.parametrize("kind", ["png", "one-bit.png", "jpg", "tif"])
def test_the_limit_of_pixels_is_a_setting(kind, tmp_path, monkeypatch):
    path = tmp_path / f"x.{kind}"
    Image.new("1" if "one" in kind else "L", (50, 40)).save(path)
    monkeypatch.setenv("PRIVMED_MAX_PIXELS", "1999")
    for reader in (read, read_logo):
        with pytest.raises(InputError, match="50 x 40 = 2,000 pixels, more than the limit of 1,999"):
            reader(path)
    monkeypatch.setenv("PRIVMED_MAX_PIXELS", "2_000")
    assert read(path).size == (40, 50)
    monkeypatch.setenv("PRIVMED_MAX_PIXELS", "many")
    with pytest.raises(SettingsError, match="PRIVMED_MAX_PIXELS must be a whole number"):
        read(path)


def test_our_limit_counts_and_not_that_of_pillow(tmp_path, monkeypatch):
    Image.new("L", (50, 40)).save(tmp_path / "x.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read(tmp_path / "x.jpg").size == (40, 50)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("depth", [1, 8])
def test_chunks_that_unpack_to_gigabytes_are_not_unpacked(depth, tmp_path):
    bomb = zlib.compress(bytes(2**26), 9)
    (tmp_path / "x.png").write_bytes(png(32, 32, depth, (b"iCCP", b"icc\0\0" + bomb), (b"zTXt", b"Comment\0\0" + bomb)))
    if depth == 8:  # libpng leaves out what is too large
        assert read(tmp_path / "x.png").size == (32, 32)
        return
    with pytest.raises(InputError, match=r"the PNG is damaged .*too large"):
        read(tmp_path / "x.png")


def tiff(path, **tags: int) -> None:
    """A small TIFF whose header says other things than it holds."""
    tifffile.imwrite(path, np.zeros((40, 48), np.uint8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in tags.items():
            file.pages[0].tags[name].overwrite(value)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ImageLength": 2**31 - 1}, "more than the limit"),
        ({"ImageLength": 9000, "ImageWidth": 9000}, "says 9000 x 9000 pixels, and holds fewer"),
        ({"SamplesPerPixel": 60000}, "60000 values a pixel"),
        ({"ImageLength": 0}, "0 pixels"),
        ({"Compression": 50001}, "packed with WEBP"),
        ({"Compression": 7}, "has no header"),
    ],
)
def test_a_tiff_that_lies_about_its_size(tags, words, tmp_path):
    tiff(tmp_path / "x.tif", **tags)
    with pytest.raises(InputError, match=words):
        read(tmp_path / "x.tif")


def test_pages_that_form_a_ring_end(tmp_path):
    """A hundred and fifty pages, the last of which names one of the last as the next."""
    at = [8 + 18 * n for n in range(150)]
    pages = [struct.pack("<HHHIII", 1, 256, 4, 1, 32, following) for following in (*at[1:], at[140])]
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages))
    with pytest.raises(InputError, match="form a ring"):
        read(tmp_path / "x.tif")


def test_a_part_of_a_tiff_that_is_larger_than_the_page(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((48, 64), np.uint8), photometric="minisblack", compression="jpeg2000")
    assert read(tmp_path / "x.tif").size == (48, 64)
    data = (tmp_path / "x.tif").read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 8
    (tmp_path / "x.tif").write_bytes(data[:at] + struct.pack(">II", 60000, 60000) + data[at + 8 :])
    with pytest.raises(InputError, match="60000 x 60000"):
        read(tmp_path / "x.tif")


# --- DICOM ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dicom(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
    from pydicom.data import get_testdata_file

    def write(name: str = "CT_small.dcm", **tags):
        dataset = pydicom.dcmread(get_testdata_file(name))
        for word, value in tags.items():
            setattr(dataset, word, value)
        dataset.save_as(tmp_path / "x.dcm")
        return tmp_path / "x.dcm"

    return write


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000"),
        ({"Rows": 9000, "Columns": 9000}, "cannot be decoded"),
        ({"SamplesPerPixel": 60000}, "60000 values a pixel"),
        ({"BitsAllocated": 64}, "in 64 bits"),
        ({"NumberOfFrames": 2**31 - 1}, "has 2147483647 frames"),
    ],
)
def test_a_dicom_file_that_lies_about_its_size(tags, words, dicom):
    with pytest.raises(InputError, match=words):
        read(dicom(**tags))


def test_a_frame_that_is_larger_than_rows_and_columns_say(dicom):
    path = dicom("JPEG2000.dcm")
    read(path)
    data = path.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(data[:at] + struct.pack(">II", 60000, 60000) + data[at + 8 :])
    with pytest.raises(InputError, match="60000 x 60000"):
        read(path)


def test_a_deflated_dicom_file_that_unpacks_to_more_than_allowed(dicom, monkeypatch):
    path = dicom("image_dfl.dcm")
    read(path)
    monkeypatch.setenv("PRIVMED_MAX_PIXELS", "20_000")
    with pytest.raises(InputError, match=r"unpacks to bytes for .* pixels, more than the limit of 20,000"):
        read(path)


# --- kinds and sizes of files -----------------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path / "pipe.png"


READERS = {
    "picture": read,
    "stego": read_wire,
    "logo": read_logo,
    "recipe": read_recipe,
    "key": lambda path: read_key(path, []),
    "model": load_oracle,
    "fingerprint": fingerprint,
    "card": lambda path: weights.read_card(path.with_suffix(".safetensors")),
    "weights": lambda path: registry.create("hider", "lightih", weights=path),
}


@pytest.mark.parametrize("what", READERS)
def test_no_reader_waits_for_a_named_pipe(what, tmp_path):
    path = tmp_path / {"model": "x.onnx", "card": "x.json", "weights": "x.safetensors"}.get(what, "x.png")
    os.mkfifo(path)
    if what == "weights":
        pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    with pytest.raises((InputError, KeyFileError, WeightsError), match="is a named pipe, expected a regular file"):
        READERS[what](path)


def test_other_kinds_of_files_are_told(tmp_path, pipe):
    (tmp_path / "link.png").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, words in (
            ("link.png", "link.png: is a named pipe"),
            ("socket.png", "is a socket"),
            ("/dev/zero", "is a device"),
            (".", "is a folder"),
        ):
            with pytest.raises(InputError, match=words):
                read(tmp_path / name)


def test_a_pipe_in_a_data_set_is_named(tmp_path, phantoms):
    root = phantoms(tmp_path / "set")
    os.mkfifo(root / "images/pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: is a named pipe"):
        ImageFolder(root, lenient=True).digest()


@pytest.mark.parametrize("limit", ["file_bytes", "text_bytes", "table_bytes"])
def test_larger_files_than_allowed_are_not_read(limit, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(bytes(101))
    monkeypatch.setenv(limits.variable(limit), "100")
    with pytest.raises(InputError, match=f"has 101 bytes, more than the limit of 100. .* {limits.variable(limit)}"):
        limits.read_bytes(path, limit)
    monkeypatch.setenv(limits.variable(limit), "101")
    assert limits.read_bytes(path, limit) == bytes(101)


def test_text_files_are_bounded_by_their_readers(tmp_path, monkeypatch, phantoms):
    monkeypatch.setenv("PRIVMED_MAX_TEXT_BYTES", "30")
    (tmp_path / "r.yaml").write_text("name: x\n" * 10)
    (tmp_path / "w.json").write_text(json.dumps({"method": "hider:toy", "config": {}}))
    (tmp_path / "w.safetensors").touch()
    with pytest.raises(InputError, match="PRIVMED_MAX_TEXT_BYTES"):
        read_recipe(tmp_path / "r.yaml")
    with pytest.raises(WeightsError, match="PRIVMED_MAX_TEXT_BYTES"):
        weights.read_card(tmp_path / "w.safetensors")
    monkeypatch.setenv("PRIVMED_MAX_TABLE_BYTES", "30")
    with pytest.raises(InputError, match=r"split\.csv: has .* PRIVMED_MAX_TABLE_BYTES"):
        ImageFolder(phantoms(tmp_path / "set", split="train train test test"))


def test_a_few_lines_that_stand_for_gigabytes(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (tmp_path / "r.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"is not YAML .*alias"):
        read_recipe(tmp_path / "r.yaml")
    for text in ("[" * 100_000, "- " * 500 + "x", "{x: " * 200 + "1" + "}" * 200):
        (tmp_path / "deep.yaml").write_text(text)
        with pytest.raises(InputError, match=r"is not YAML .*nested too deeply"):
            read_recipe(tmp_path / "deep.yaml")
    (tmp_path / "level.yaml").write_text("[" * 100 + "]" * 100)
    assert limits.read_yaml(tmp_path / "level.yaml") is not None
    for reader, kind in ((read_plan, "a plan"), (read_paper, "reported values")):
        for name in ("r.yaml", "deep.yaml"):
            with pytest.raises(InputError, match=rf"cannot be read as {kind} .*(alias|nested too deeply)"):
                reader(tmp_path / name)
    (tmp_path / "w.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="nested too deeply"):
        weights.read_card(tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", ["2024-13-45", "!!int x", "!!bool x", "!!timestamp x", "9" * 5000])
def test_a_value_that_is_none_of_its_kind_is_no_yaml(tmp_path, value):
    (tmp_path / "r.yaml").write_text(f"a: {value}")
    with pytest.raises(InputError, match=r"is not YAML .*a date or number that is none"):
        read_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_yaml_is_read_without_the_loader_in_c_too(tmp_path, monkeypatch, loader):
    if loader == "SafeLoader":
        monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    (tmp_path / "r.yaml").write_text("a: [1, 2.5, yes, {b: text}]\nc: 1e-3\nd: 1.0e-3")
    assert limits.read_yaml(tmp_path / "r.yaml") == {"a": [1, 2.5, True, {"b": "text"}], "c": "1e-3", "d": 0.001}
    (tmp_path / "deep.yaml").write_text("[" * 200 + "]" * 200)
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        limits.read_yaml(tmp_path / "deep.yaml")


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lightih(tmp_path):
    """Weights of a small hider, whose card says what it is told to."""
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    path = tmp_path / "w.safetensors"
    weights.save(registry.create("hider", "lightih", weights=None, blocks=1), path)

    def with_config(**config):
        card = json.loads(path.with_suffix(".json").read_text())
        card["config"] |= config
        path.with_suffix(".json").write_text(json.dumps(card))
        return path

    return with_config


def test_a_card_of_a_billion_blocks_is_refused(lightih):
    assert registry.create("hider", "lightih", weights=lightih()).config.blocks == 1
    with pytest.raises(WeightsError, match=r"hold \d+ tensors of .* numbers, and their settings describe a far larger"):
        registry.create("hider", "lightih", weights=lightih(blocks=10**9))


def test_networks_are_bounded(monkeypatch):
    from privmed.building import build

    with pytest.raises(SettingsError, match=r"wide: .* has 10,000,000,000,000 parameters .*PRIVMED_MAX_PARAMETERS"):
        build(lambda: torch.nn.Linear(10**7, 10**6), "wide")
    monkeypatch.setenv("PRIVMED_MAX_TENSORS", "10")
    with pytest.raises(SettingsError, match="many: with these settings it has 11 tensors or more"):
        build(lambda: torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(10**9)), "many")
    assert build(lambda: torch.nn.Linear(1, 1), "small")(torch.ones(1)).shape == (1,)


def test_building_draws_the_same_random_numbers():
    from privmed.building import build

    torch.manual_seed(0)
    plain = torch.nn.Linear(4, 4).weight
    torch.manual_seed(0)
    assert torch.equal(build(lambda: torch.nn.Linear(4, 4), "x").weight, plain)


def test_a_checkpoint_that_is_a_program_or_unpacks_to_more_than_allowed(tmp_path, monkeypatch):
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="is a TorchScript program"):
        weights.load_checkpoint(tmp_path / "x.pt")
    torch.save({"x": torch.zeros(1000)}, tmp_path / "y.pt")
    assert weights.load_checkpoint(tmp_path / "y.pt")["x"].shape == (1000,)
    with (
        zipfile.ZipFile(tmp_path / "y.pt") as source,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as z,
    ):
        for name in source.namelist():
            z.writestr(name, source.read(name))
    monkeypatch.setenv("PRIVMED_MAX_FILE_BYTES", "3000")
    assert (tmp_path / "z.pt").stat().st_size <= 3000
    with pytest.raises(WeightsError, match="unpacks to more than the limit of 3,000"):
        weights.load_checkpoint(tmp_path / "z.pt")


def test_the_documented_limits_are_the_real_ones():
    text = (Path(__file__).parents[1] / "docs/security.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(PRIVMED_MAX_\w+)` \| (\d+) \|", text, re.MULTILINE))
    assert rows == {limits.variable(name): str(value) for name, value in attrs.asdict(limits.Limits()).items()}
