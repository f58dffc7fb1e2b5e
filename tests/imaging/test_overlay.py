"""Blending by hand-computed values, exact removal, and places against a count of every pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from privmed.errors import KeyFileError
from privmed.imaging.canvas import Canvas, max_value_of
from privmed.imaging.chain import Chain, Clip, Linear, unit_chain
from privmed.imaging.overlay import Overlay, admissible, blend, guess, touches
from privmed.imaging.picture import Picture
from privmed.imaging.record import make_record, use_record


def overlay(opacity, colour=(255, 255, 255), x=0, y=0):
    opacity = np.asarray(opacity, np.uint8)
    return Overlay(x, y, opacity, np.broadcast_to(np.asarray(colour, np.uint8), (*opacity.shape, 3)))


def test_blending_by_hand():
    """(255 - a) / 255 * v + a / 255 * c, halves up: a = 100 on 51 under white is 31 + 100 = 131."""
    values = np.full((1, 3), 51, np.uint8)
    assert blend(values, overlay([[0, 100, 255]]), 255).tolist() == [[51, 131, 255]]
    assert blend(np.full((1, 1), 100, np.uint8), overlay([[128]], (200, 200, 200)), 255).item() == 150  # 150.196


def test_luma_of_the_colour_is_used_on_grey():
    assert blend(np.zeros((1, 1), np.uint8), overlay([[255]], (255, 0, 0)), 255).item() == 76  # 0.299 * 255


def test_sixteen_bits_are_blended_in_sixteen_bits():
    assert blend(np.zeros((1, 1), np.uint16), overlay([[255]]), 65535).item() == 65535
    assert (
        blend(np.full((1, 1), 1001, np.uint16), overlay([[51]], (0, 0, 0)), 65535).item() == 801
    )  # 0.8 * 1001 = 800.8


def test_the_guess_is_off_by_what_the_reference_says():
    """Half a level times 255 / (255 - a): 0.82 at 100, 2.3 at 200; and the share restored exactly, 61 % and 22 % (methods, 9.6)."""
    levels = np.arange(256, dtype=np.uint8)[None]
    for alpha, worst, exact in ((100, 0.82, 0.61), (200, 2.32, 0.22)):
        mark = overlay(np.full((1, 256), alpha), (0, 0, 0))
        error = np.abs(guess(blend(levels, mark, 255), mark, 255) - levels.astype(int))
        assert error.max() <= np.ceil(worst)
        assert abs((error == 0).mean() - exact) < 0.02


@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_records_restore_every_depth(kind, shape):
    rng = np.random.default_rng(0)
    info = np.iinfo(kind)
    original = rng.integers(info.min, info.max, shape, endpoint=True, dtype=kind)
    mark = overlay(rng.integers(0, 256, (9, 11)), (250, 120, 30), x=4, y=7)
    levels = info.max if info.kind == "u" else None
    if levels:
        marked = blend(original, mark, levels)
    else:
        marked = original.copy()
        marked[mark.window] //= 3
    record = make_record(original, marked, mark, levels)
    assert np.array_equal(use_record(marked, record), original)
    marked[0, 0] ^= 1
    with pytest.raises(KeyFileError, match="altered"):
        use_record(marked, record)


def test_places_equal_a_count_of_every_pixel():
    rng = np.random.default_rng(1)
    region = rng.random((12, 15)) < 0.05
    counted = touches((12, 15), (4, 3), region)
    for y in range(9):
        for x in range(13):
            assert counted[y, x] == region[y : y + 4, x : x + 3].sum()
    assert np.array_equal(admissible((12, 15), (4, 3), region), counted == 0)
    assert admissible((12, 15), (13, 3)).size == 0


def test_boxes_extend_by_the_mark():
    """A mark at (x, y) touches a box iff bx - w < x < bx + bw, and alike in y (methods, 9.4, step 5)."""
    region = np.zeros((40, 50), bool)
    bx, by, bw, bh, w, h = 20, 10, 8, 6, 5, 7
    region[by : by + bh, bx : bx + bw] = True
    y, x = np.mgrid[0 : 40 - h + 1, 0 : 50 - w + 1]
    expected = (bx - w < x) & (x < bx + bw) & (by - h < y) & (y < by + bh)
    assert np.array_equal(touches((40, 50), (h, w), region) > 0, expected)


def ct(pixels):
    """Signed, seen through a window from -160 to 240."""
    chain = Chain((Linear(1 / 400, 0.4), Clip()), -32768, 32767)
    return Picture(pixels, chain, "dicom", 16, lambda *_: None, Path("x.dcm"))


def test_the_mark_is_seen_where_a_window_saturates():
    pixels = np.full((40, 40), -1000, np.int16)
    pixels[:, 20:] = 40
    canvas = Canvas(ct(pixels))
    assert canvas.max_value is None
    marked = canvas.draw(overlay(np.full((10, 40), 128), x=0, y=5))
    seen = marked.tensor()[0, 0]
    assert torch.allclose(seen[5:15, :20], torch.tensor(128 / 255), atol=3e-3)
    assert torch.allclose(seen[5:15, 20:], torch.tensor(0.5 * 127 / 255 + 128 / 255), atol=3e-3)
    assert np.array_equal(marked.pixels[:5], pixels[:5])
    assert marked.pixels[5:15].min() >= -160


def test_plain_pictures_are_recognised():
    plain = Picture(np.zeros((4, 4), np.uint16), unit_chain(np.dtype("u2")), "png", 16, lambda *_: None, Path("x.png"))
    assert max_value_of(plain) == 65535
    assert max_value_of(ct(np.zeros((4, 4), np.int16))) is None
