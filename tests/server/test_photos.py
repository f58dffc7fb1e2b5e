"""What may be decoded, and that a body is never read further than its limits."""

import asyncio

import numpy as np
import pytest
from PIL import Image

from privmed.imaging.raster import encode_png
from privmed.server.photos import Refused, check_head, decode, encode, read_photo
from privmed.server.settings import ServerSettings

from ..serving import photo

SETTINGS = ServerSettings(max_pixels=2500, max_bytes=9000, patience=0.2)
HEADERS = {"content-type": "image/png"}


def receiver(*chunks, then=None):
    """A body in chunks; ``asked`` counts how many were asked for."""
    messages = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]

    async def receive():
        receive.asked += 1
        if messages:
            return messages.pop(0)
        if then is None:
            await asyncio.sleep(10 * SETTINGS.patience)
            pytest.fail("the body is still waited for")
        return then

    receive.asked = 0
    return receive


END = {"type": "http.request", "body": b"", "more_body": False}


def read(receive, headers=HEADERS):
    return asyncio.run(read_photo(headers, receive, SETTINGS))


def refused(receive, headers=HEADERS):
    with pytest.raises(Refused) as caught:
        read(receive, headers)
    return caught.value.status


def test_a_body_arrives_whole():
    png = photo()
    assert read(receiver(png[:20], png[20:40], png[40:], then=END)) == png
    assert read(receiver(png, then=END), {"content-type": "Image/PNG; charset=x", "content-length": "nonsense"}) == png


def test_a_large_body_is_not_read_further():
    endless = receiver(photo(), *[b"x" * 4000] * 50)
    assert refused(endless) == 413
    assert endless.asked == 2  # the photograph, and the chunk that was too much
    declared = receiver(photo(), then=END)
    assert refused(declared, HEADERS | {"content-length": "9001"}) == 413
    assert declared.asked == 0


def test_a_bomb_is_known_by_its_first_bytes():
    bomb = receiver(photo(height=51, width=50)[:33], *[b"x"] * 50)
    assert refused(bomb) == 413
    assert bomb.asked == 1


def test_slow_and_cut_off():
    assert refused(receiver(photo()[:50])) == 408
    assert refused(receiver(photo()[:50], then={"type": "http.disconnect"})) == 400
    assert refused(receiver(then=END)) == 415
    assert refused(receiver(photo()[:20], then=END)) == 422


@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/json", "image/pngx"])
def test_another_type_is_refused_unread(kind):
    receive = receiver(photo(), then=END)
    assert refused(receive, {"content-type": kind}) == 415
    assert receive.asked == 0


@pytest.mark.parametrize(
    ("pixels", "status"),
    [
        (np.zeros((31, 40), np.uint8), 422),
        (np.zeros((40, 40), np.uint16), 422),
        (np.zeros((60, 60), np.uint8), 413),
    ],
    ids=["small", "deep", "large"],
)
def test_headers_that_are_refused(pixels, status):
    with pytest.raises(Refused) as caught:
        check_head(encode_png(pixels)[:33], SETTINGS)
    assert caught.value.status == status


@pytest.mark.parametrize("change", ["cut", "flipped", "transparent", "animated"])
def test_what_cannot_be_decoded(tmp_path, change):
    png = bytearray(photo())
    if change == "cut":
        png = png[:-500]
    elif change == "flipped":
        png[60:400] = bytes(340)
    elif change == "transparent":
        png = encode_png(np.full((40, 40, 4), 7, np.uint8))
    else:
        frames = [Image.fromarray(np.full((40, 40, 3), v, np.uint8)) for v in (1, 2)]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        png = (tmp_path / "a.png").read_bytes()
    check_head(bytes(png[:33]), SETTINGS)
    with pytest.raises(Refused) as caught:
        decode(bytes(png))
    assert caught.value.status == 422
    assert "photo" in caught.value.why


def test_pixels_come_back_as_they_were():
    pixels = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(pixels)), pixels)
    assert decode(encode(pixels[..., 0])).shape == (33, 41, 3)
