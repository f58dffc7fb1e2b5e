"""The logo that nobody searched a place for: where it lies, and that no model is asked."""

import numpy as np
import pytest
import torch

import privmed
from privmed.interfaces.watermarker import Task
from privmed.testing.watermarker_checks import sample_logo

LOGO = torch.ones(1, 3, 8, 8)
IMAGE = torch.full((1, 1, 64, 96), 0.2)


def region(rows, columns):
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., slice(*rows), slice(*columns)] = 1
    return mask


def changed(made):
    rows, columns = np.nonzero((made.image != (IMAGE * 255).round() / 255)[0, 0].numpy())
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_it_lies_in_the_middle_of_the_target_and_hides_it():
    made = privmed.watermarker("plain").embed(IMAGE, LOGO, target=region((10, 30), (60, 80)))
    top, bottom, left, right = changed(made)
    assert ((top + bottom) / 2, (left + right) / 2) == (pytest.approx(20, abs=0.5), pytest.approx(70, abs=0.5))
    assert made.parameters["opacity"] == 255
    assert (made.queries, made.success) == (0, None)


def test_without_a_target_it_lies_in_the_middle_of_the_image():
    top, bottom, left, right = changed(privmed.watermarker("plain").embed(IMAGE, LOGO))
    assert ((top + bottom) / 2, (left + right) / 2) == (pytest.approx(32, abs=0.5), pytest.approx(48, abs=0.5))


def test_what_is_forbidden_is_left_free_as_near_to_the_middle_as_can_be():
    _, bottom, _, _ = changed(privmed.watermarker("plain").embed(IMAGE, LOGO, forbidden=region((20, 64), (0, 96))))
    assert bottom == 20


def test_random_places_are_drawn_by_the_seed_and_keep_to_the_target():
    locker, target = privmed.watermarker("plain", place="random"), region((0, 20), (0, 20))
    places = [locker.embed(IMAGE, LOGO, target=target, generator=seed).parameters for seed in (0, 0, *range(1, 20))]
    assert places[0] == places[1]
    assert len({(p["x"], p["y"]) for p in places}) > 10
    assert all(p["x"] < 20 and p["y"] < 20 for p in places)


def test_many_images_are_marked_without_one_question():
    placed = privmed.watermarker("plain").place([Task(image=IMAGE), Task(image=IMAGE)], sample_logo())
    assert [p.queries for p in placed] == [0, 0]
