"""Second implementations of file formats, written from docs/formats.md alone."""

import hashlib
import json
import lzma
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run

INFO = b"privmed lsbm 1\n"


def hkdf(secret, salt, info, length):
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def unsealed(key, data):
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).decrypt(bytes(12), data, INFO)


def read_file(stego, key_file):
    """The file in a photograph."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    first, digits = key_file.decode("ascii").splitlines()
    pixels = stego.reshape(stego.shape[0] * stego.shape[1], -1)
    count = len(pixels)
    salt_at = [i * count // 128 for i in range(128)]
    salt = np.packbits(pixels[salt_at, 0] & 1).tobytes()
    shared = hkdf(bytes.fromhex(digits), salt, first.encode() + b"\n", 32)
    keys = hkdf(shared, salt, INFO, 128)
    head_key, file_key, order_key = keys[:32], keys[32:64], keys[64:96]

    rest = [i for i in range(count) if i not in set(salt_at)]
    drawn = Cipher(algorithms.ChaCha20(order_key, bytes(16)), mode=None).encryptor().update(bytes(8 * len(rest)))
    low = (1 << len(rest).bit_length()) - 1
    numbers = sorted((n & ~low) | j for j, (n,) in enumerate(struct.iter_unpack("<Q", drawn)))
    order = [rest[n & low] for n in numbers]

    code, sealed, length, digest = struct.unpack(
        "<BIQ32s", unsealed(head_key, np.packbits(pixels[order[:488], 0] & 1).tobytes())
    )
    last = np.concatenate([pixels[order, c] for c in range(pixels.shape[1])])[488:] & 1
    columns, blocks = 2**code - 1, -(-8 * sealed // code)
    depth = len(last) // (blocks * columns)
    bits = []
    for j in range(blocks):
        number = 0
        for c in range(columns):
            if sum(int(last[(d * columns + c) * blocks + j]) for d in range(depth)) % 2:
                number ^= c + 1
        bits += [number >> bit & 1 for bit in range(code)]
    packed = unsealed(file_key, np.packbits(bits[: 8 * sealed]).tobytes())

    bare = pixels.copy()
    bare[salt_at, 0] &= 0xFE
    bare[order[:488], 0] &= 0xFE
    shape = stego.shape if stego.ndim == 3 else (*stego.shape, 1)
    assert hashlib.sha256(struct.pack("<3Q", *shape) + bare.tobytes()).digest() == digest
    data = lzma.decompress(packed, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}])
    assert len(data) == length
    return data


@pytest.mark.parametrize("shape", [(40, 56, 3), (72, 72)])
def test_a_hidden_file_is_read_by_what_the_page_says(shape, tmp_path):
    pytest.importorskip("cryptography", reason="needs privmed[keys]")
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / "cover.png")
    (tmp_path / "note.txt").write_bytes(b"a note for the other side")
    at = {name: str(tmp_path / name) for name in ("cover.png", "note.txt", "shared.key", "stego.png")}
    assert run(["keygen", "--shared", "-o", at["shared.key"], "-q"]) == 0
    hide = ["hide", at["note.txt"], at["cover.png"], "-o", at["stego.png"], "--hider", "lsbm"]
    assert run([*hide, "--key", at["shared.key"], "-q"]) == 0
    key = (tmp_path / "shared.key").read_bytes()
    assert (len(key), key[:21]) == (86, b"privmed shared key 1\n")
    assert read_file(np.array(Image.open(at["stego.png"])), key) == b"a note for the other side"


def test_ids_of_records_are_what_the_page_says(tmp_path):
    from privmed.bench.records import Measurement, Provenance, Records

    origin = Provenance(command="privmed x", versions={"privmed": "0.2.0", "attrs": "1"}, note="für alle", threads=2)
    records = Records([Measurement(metric="psnr", value=1.0, provenance=origin.id)], {origin.id: origin})
    lines = [json.loads(line) for line in records.save(tmp_path / "r.jsonl").read_text().splitlines()]
    assert [line["record"] for line in lines] == ["provenance", "measurement"]
    assert lines[1]["provenance"] == lines[0]["id"]
    every = {
        "command": "",
        "commit": "unknown",
        "date": "",
        "device": "",
        "threads": 0,
        "versions": {},
        "data": {},
        "weights": {},
        "note": "",
    }
    given = {name: value for name, value in lines[0].items() if name not in ("record", "id")}
    text = json.dumps({**every, **given}, sort_keys=True, separators=(", ", ": "), ensure_ascii=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == lines[0]["id"]


def test_the_page_names_what_the_program_writes():
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for word in (r"privmed key 1\n", "privmed shared key 1", r"privmed lsbm 1\n", "split.csv", "card_version"):
        assert re.search(re.escape(word), page)
