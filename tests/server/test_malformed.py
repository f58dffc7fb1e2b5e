"""Requests that are none: each gets the right status, the log no traceback, and the next client its photograph."""

import functools
import random
import struct
import zlib

import pytest

from ..serving import photo, post

PNG = photo()
TOKEN = "correct-horse-battery"
MINE = f"Authorization: Bearer {TOKEN}"


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *parts: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"".join([PNG[:8], head, *parts, chunk(b"IEND", b"")])


def pixels(bytes_: int) -> bytes:
    """Compressed zeros, however many."""
    return chunk(b"IDAT", zeros(bytes_))


@functools.cache
def zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def cut(rng):
    return post(PNG[: rng.randrange(40, len(PNG) - 20)], MINE), 422


def flipped(rng):
    broken = bytearray(PNG)
    for at in rng.sample(range(40, len(PNG) - 20), 20):
        broken[at] ^= rng.randrange(1, 256)
    return post(bytes(broken), MINE), 422


def bomb_of_pixels(rng):
    side = rng.choice([2000, 60_000, 2**31 - 1])
    return post(png(side, side, pixels(10**6)), MINE), 413


def bomb_of_rows(rng):
    """More rows than the header says: what is too much is not unpacked."""
    return post(png(64, 64, pixels(rng.choice([10**6, 10**7]))), MINE), (200, 422)


def bomb_of_text(rng):
    name = rng.choice([b"zTXt", b"iCCP"])
    return post(png(32, 32, chunk(name, b"x\0\0" + zeros(10**7)), pixels(32 * 97)), MINE), (200, 422)


def wrong_type(rng):
    return post(PNG, MINE, kind=rng.choice(["", "text/plain", "multipart/form-data; boundary=x", "image/jpeg"])), 415


def no_png(rng):
    return post(rng.choice([b"", b"GIF89a" + PNG[8:], b"\xff\xd8\xff" + PNG, rng.randbytes(500)]), MINE), 415


def strange_png(rng):
    if rng.random() < 0.5:
        return post(png(64, 64, pixels(64 * 65), depth=rng.choice([1, 4, 16, 77]), colour=0), MINE), 422
    return post(png(rng.choice([0, 1, 31]), 64, pixels(10)), MINE), 422


def wrong_token(rng):
    header = rng.choice(
        ["X: y", "Authorization: Bearer", f"Authorization: Bearer {TOKEN[1:]}", f"Authorization: Basic {TOKEN}"]
    )
    return post(PNG, header), 401


def wrong_path(rng):
    return post(
        PNG, MINE, path=rng.choice(["/", "/v1/photo", "/v1/photos/x", "/../etc/passwd", "/%00", "/v1%2fphotos/1"])
    ), 404


def wrong_method(rng):
    verb = rng.choice([b"GET", b"PUT", b"DELETE", b"PATCH", b"BREW"])
    return post(PNG, MINE).replace(b"POST", verb, 1), 405


def too_large(rng):
    if rng.random() < 0.5:
        return post(PNG, MINE, length=10**12), 413
    start = post(b"", MINE).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return start + b"2000\r\n" + PNG.ljust(0x2000, b"x") + b"\r\n" + (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 8, 413


def no_http(rng):
    return rng.choice(
        [
            b"nonsense\r\n\r\n",
            b"POST /v1/photos\r\n\r\n",
            b"\x16\x03\x01" + rng.randbytes(80) + b"\r\n\r\n",
            b"POST " + b"a" * 99_000,
        ]
    ), 400


def broken_headers(rng):
    bad = rng.choice(["Content-Length: -1", "Content-Length: 5, 6", "Bad Name: x", "Content-Length: \u0663"])
    return post(PNG, MINE, bad), 400


def hung_up(rng):
    return post(PNG, MINE)[: -rng.randrange(1, len(PNG))], (0, 400)


KINDS = [
    cut, flipped, bomb_of_pixels, bomb_of_rows, bomb_of_text, wrong_type, no_png, strange_png, wrong_token, wrong_path,
    wrong_method, too_large, no_http, broken_headers, hung_up,
]  # fmt: skip


def hold(serve, capfd, requests):
    server = serve(lambda stego: stego, allowed=[TOKEN], max_pixels=4096, max_bytes=60_000)
    for kind, (raw, wanted) in requests:
        got = server.ask(raw, hang_up=kind is hung_up)
        assert got in (wanted if isinstance(wanted, tuple) else (wanted,)), kind.__name__
    assert server.ask(post(PNG, MINE)) == 200
    server.stop()
    said = "".join(capfd.readouterr()) + "\n".join(server.log)
    assert "Traceback" not in said
    assert "status=500" not in said
    assert "error=" not in said
    assert TOKEN not in said


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_malformed_request_gets_its_status(serve, capfd, kind):
    hold(serve, capfd, [(kind, kind(random.Random(n))) for n in range(4)])


@pytest.mark.slow
def test_a_thousand_malformed_requests(serve, capfd):
    rng = random.Random(0)
    hold(serve, capfd, [(kind, kind(rng)) for _ in range(67) for kind in KINDS][:1000])
