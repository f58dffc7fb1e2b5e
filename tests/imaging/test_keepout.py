"""Lesion boxes step by step, and logos at exact sizes."""

import numpy as np
import pytest
import torch

from privmed.errors import InputError
from privmed.imaging.keepout import KeepOut, iou, lesion_boxes, merge_boxes, paint, union
from privmed.imaging.logo import draw_logo, fit_logo, fitted_size, read_logo


def test_dilation_adds_half_of_its_side():
    mask = np.zeros((200, 300))
    mask[100, 150] = 1
    assert lesion_boxes(mask, KeepOut(dilate=11 / 300, smallest=0)) == [(145, 95, 11, 11)]


def test_the_papers_settings_at_its_size():
    """K(10,10) ten times is one box of 91; components of 50,000 pixels and less go, larger ones stay."""
    mask = np.zeros((2848, 4288), np.uint8)
    mask[1000, 1000] = 1  # 91 x 91 = 8,281 pixels after dilation: dropped
    mask[500:700, 3000:3200] = 1  # 290 x 290 after dilation: kept
    assert lesion_boxes(mask, KeepOut(smallest=50_000 / (4288 * 2848))) == [(2955, 455, 290, 290)]
    assert len(lesion_boxes(mask)) == 2  # ours keeps every lesion


def test_small_is_a_part_of_the_image():
    mask = np.zeros((224, 224))
    mask[10:20, 10:20] = 1  # with dilation by 5: 14 x 14 = 196 pixels, below 205
    paper = KeepOut(smallest=50_000 / (4288 * 2848))
    assert lesion_boxes(mask, paper) == []
    mask[10:30, 10:30] = 1
    assert lesion_boxes(mask, paper) == [(8, 8, 24, 24)]


def test_union_is_by_corners_not_by_sizes():
    assert union((0, 0, 10, 10), (5, 5, 10, 10)) == (0, 0, 15, 15)
    assert iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)


def test_merging_goes_on_until_nothing_overlaps():
    boxes = [(0, 0, 10, 10), (1, 0, 10, 10), (0, 0, 12, 10), (40, 40, 5, 5)]
    assert sorted(merge_boxes(boxes, 0.5)) == [(0, 0, 12, 10), (40, 40, 5, 5)]
    assert merge_boxes([], 0.5) == []


def test_empty_and_full_masks():
    assert lesion_boxes(np.zeros((64, 64))) == []
    assert lesion_boxes(np.ones((64, 64))) == [(0, 0, 64, 64)]
    assert paint([(1, 2, 3, 4)], (10, 10)).sum() == 12


def test_fitted_sizes_are_exact():
    """A 153-wide logo at one fourth of 224 is 56 wide; a float product loses a pixel (methods, 9.2)."""
    assert fitted_size((100, 153), (224, 224), 4) == (37, 56)
    assert fitted_size((73, 153), (224, 224), 4) == (27, 56)  # MedLocker's logo: 26.7 rounded
    assert fitted_size((1, 1000), (224, 224), 4) == (1, 56)
    assert fitted_size((50, 50), (100, 300), 4) == (25, 25)


def test_a_logo_without_transparency_is_as_opaque_as_it_is_bright():
    logo = torch.zeros(1, 3, 8, 8)
    logo[:, 1, :, 4:] = 1.0
    opacity, colour = fit_logo(logo, (32, 32), 4)
    assert opacity.shape == (8, 8)
    assert opacity[0].tolist()[:1] + opacity[0].tolist()[-1:] == [0, 150]  # 0.587 * 255
    assert colour[0, -1].tolist() == [0, 255, 0]


def test_bad_logos(tmp_path):
    with pytest.raises(InputError, match="larger than the image"):
        fit_logo(draw_logo(32), (64, 64), 0.5)
    with pytest.raises(InputError, match="transparent or black"):
        fit_logo(torch.zeros(1, 3, 8, 8), (64, 64), 4)
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(InputError):
        read_logo(tmp_path / "x.png")


@pytest.mark.parametrize("side", [32, 57, 300])
def test_default_logo_at_any_size(side):
    logo = draw_logo(side)
    assert logo.shape == (1, 4, side, side)
    assert 0.4 < float(logo[:, 3].mean()) < 0.8
