"""MedLocker's search: how often it asks, where it walks, and that it finds what there is to find."""

import numpy as np
import pytest
import torch
from privmed_watermarkers.medlocker.space import Space

import privmed
from privmed.errors import SettingsError
from privmed.imaging.logo import draw_logo
from privmed.interfaces.search import Problem
from privmed.testing.watermarker_checks import sample_image, sample_logo, steady


def test_a_failed_search_asks_no_more_than_the_reference_says():
    """N_p * (1 + N_g * (N_iter + 1)) = 650 with the paper's settings, and the clean image; repeated candidates are not asked again."""
    made = privmed.watermarker("medlocker").embed(sample_image((224, 224)), sample_logo(), steady, 0)
    assert not made.success
    assert 300 < made.queries <= 651


def spot(target):
    """An oracle that is fooled a little more the nearer the brightest column and row of the mark are to a target."""

    def oracle(images):
        h, w = images.shape[-2:]
        bright = (images.mean(1) - images.mean(1).amin(0)).clamp_min(0)
        total = bright.sum((1, 2)).clamp_min(1e-6)
        y = (bright.sum(2) * torch.arange(h)).sum(1) / total
        x = (bright.sum(1) * torch.arange(w)).sum(1) / total
        far = ((x - target[0]) ** 2 + (y - target[1]) ** 2).sqrt()
        p = 0.51 + 0.4 * (far / 100).clamp(0, 1)
        return torch.stack([p, 1 - p], 1)

    return oracle


@pytest.mark.parametrize("search", ["hopping", "grid", "cma"])
def test_searches_come_near_the_best_place(search):
    image = torch.zeros(1, 1, 128, 128)
    locker = privmed.watermarker("medlocker", search=search, loss="margin")
    made = locker.embed(image, sample_logo(), spot((90, 40)), 0)
    x, y, width, height = made.record["place"]
    assert np.hypot(x + width / 2 - 90, y + height / 2 - 40) < 15


def scores_of(**settings):
    """What a search is told, turn by turn, where the true class is the likelier the farther a mark is from one place."""
    problem = Problem(view=np.zeros((128, 128), np.uint8), logo=draw_logo(), label=0)
    search = privmed.watermarker("medlocker", **settings)._search(problem, np.random.default_rng(0))
    scores = []
    while marks := search.ask():
        scores.append(0.51 + 0.4 * np.hypot([m.x - 70 for m in marks], [m.y - 20 for m in marks]) / 130)
        search.tell(marks, np.stack([scores[-1], 1 - scores[-1]], 1).astype(np.float32))
    return scores


def test_the_walk_goes_downhill_and_its_best_steps_are_what_mutates():
    first, *walk, child = scores_of(generations=1, hops=15, step=3, crossover=1.0, temperature=1e-6)
    assert len(walk) == 15
    assert walk[-1].mean() < first.mean() - 0.05
    assert (child <= first + 1e-6).all()
    assert child.mean() < first.mean() - 0.05


def test_a_warm_walk_goes_uphill_too():
    cold, warm = (scores_of(generations=1, hops=15, step=3, temperature=t)[15].mean() for t in (1e-6, 100.0))
    assert cold < warm - 0.05


def test_the_fitter_are_selected():
    """Where two genes of three come from what was selected and the third is drawn at random, the offspring gets better."""
    first, *_, last = scores_of(search="random", generations=12, crossover=0.3)
    assert last.mean() < first.mean() - 0.03


def test_stops_at_the_first_success():
    def blind(images):
        return torch.tensor([[0.1, 0.9]]).repeat(len(images), 1)

    made = privmed.watermarker("medlocker").embed(sample_image(), sample_logo(), blind, 0)
    assert made.success
    assert made.queries <= 51


def test_what_is_found_does_not_depend_on_the_batch():
    """And no more images than the batch are shown to the oracle at a time, whatever the population."""
    seen, found = [], []

    def watched(images):
        seen.append(len(images))
        p = 0.5 + 0.4 * (1 - images[..., 60:90, 10:40].mean((1, 2, 3)))
        return torch.stack([p, 1 - p], 1)

    for batch in (7, 64):
        locker = privmed.watermarker("medlocker", batch=batch, generations=1)
        found.append(locker.embed(sample_image((96, 96)), sample_logo(), watched, 0).parameters)
        assert max(seen) <= batch
    assert found[0] == found[1]


def test_a_margin_does_not_throw_a_success_away():
    """Misled by 0.02 everywhere on the left, and by nothing on the right, where the true class is less likely all the same."""

    def oracle(images):
        left = images[..., : images.shape[-1] // 2].mean((1, 2, 3)) > images[..., images.shape[-1] // 2 :].mean(
            (1, 2, 3)
        )
        there, here = torch.tensor([0.49, 0.51, 0.0]), torch.tensor([0.4, 0.3, 0.3])
        return torch.where(left[:, None], there, here)

    image = torch.zeros(1, 1, 96, 96)
    for margin in (0.0, 0.2):
        locker = privmed.watermarker("medlocker", margin=margin, population=20, generations=1)
        made = locker.embed(image, sample_logo(), oracle, 0)
        assert made.success
        assert made.after == 1


def test_space_keeps_to_what_is_allowed():
    places = np.zeros((20, 30), bool)
    places[5:8, 10:20] = True
    space, rng = Space(100, 255, places), np.random.default_rng(0)
    assert space.holds(space.sample(rng, 500)).all()
    anywhere = rng.uniform([0, -5, -5], [300, 40, 40], (300, 3))
    assert space.holds(space.nearest(anywhere)).all()
    assert not space.holds(np.array([[99, 10, 5], [150, 9, 5], [150, 10, 8], [150, 10, -1]])).any()


def test_jitter_makes_opacities_differ_by_the_seed():
    locker = privmed.watermarker("medlocker", population=4, generations=0, jitter=60, low=200)
    one, two = (locker.embed(sample_image(), sample_logo(), steady, 0, generator=s).record["opacity"] for s in (1, 2))
    assert one != two


def test_settings_that_contradict():
    with pytest.raises(SettingsError, match="low"):
        privmed.watermarker("medlocker", low=200, high=150)


def test_jitter_as_deep_as_the_faintest_mark_is_refused():
    with pytest.raises(SettingsError, match="must be below low"):
        privmed.watermarker("medlocker", jitter=100)


def test_the_former_name_of_jitter_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match="'veil' is called 'jitter' now"):
        assert privmed.watermarker("medlocker", veil=60).config.jitter == 60
