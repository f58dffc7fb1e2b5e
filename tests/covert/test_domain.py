"""What weights were trained on, and what they were not: features and distances by hand, cards, warnings."""

import numpy as np
import pytest
import torch

from privmed.covert.domain import (
    FEATURES,
    QUANTILE,
    Domain,
    features,
    neighbour_correlation,
    unfamiliar_output,
    unfamiliar_secret,
)
from privmed.data.samples import skin_phantom, ultrasound_phantom
from privmed.errors import WeightsError
from privmed.training.domain import describe


def ultrasound(seed):
    return ultrasound_phantom(seed, side=64)[0].expand(-1, 3, -1, -1)


def named(image):
    return dict(zip(FEATURES, features(image)[0].tolist()))


@pytest.fixture
def seen():
    return torch.randn(40, len(FEATURES), generator=torch.Generator().manual_seed(0)).double()


def test_features_of_a_plain_image_by_hand():
    plain = torch.tensor([0.6, 0.4, 0.1]).view(1, 3, 1, 1).expand(1, 3, 50, 70)
    f = named(plain)
    assert f["brightness"] == pytest.approx(1.1 / 3, abs=1e-6)
    assert f["red against green"] == pytest.approx(0.2, abs=1e-6)
    assert f["yellow against blue"] == pytest.approx(0.4, abs=1e-6)
    assert f["contrast"] == pytest.approx(0, abs=1e-6)
    assert f["colour spread"] == pytest.approx(0, abs=1e-6)
    assert f["roughness"] == pytest.approx(-3, abs=1e-6)
    assert f["fine detail"] == pytest.approx(-3, abs=1e-4)
    assert f["share of mid-tones"] == 1


def test_neighbour_correlation_equals_numpy():
    plane = torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0)).cumsum(2).double()
    p = plane[0].numpy()
    across = np.corrcoef(p[:, :-1].ravel(), p[:, 1:].ravel())[0, 1]
    down = np.corrcoef(p[:-1].ravel(), p[1:].ravel())[0, 1]
    assert float(neighbour_correlation(plane)) == pytest.approx((across + down) / 2, abs=1e-9)


def test_noise_is_rough_and_fine_at_any_size_and_a_scan_is_not():
    noise = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert named(noise)["roughness"] > -0.1
    scan = ultrasound_phantom(0, side=128)[0].expand(-1, 3, -1, -1)
    larger = torch.nn.functional.interpolate(scan, (300, 260), mode="bilinear")
    assert named(scan)["roughness"] < -0.8
    assert features(larger)[0].numpy() == pytest.approx(features(scan)[0].numpy(), abs=0.25)


def test_ends_tell_values_beyond_an_image():
    answer = torch.full((1, 3, 64, 64), -0.2)
    answer[..., :32] = 1.3
    assert named(answer)["dark end"] == pytest.approx(-0.2, abs=0.02)
    assert named(answer)["bright end"] == pytest.approx(1.3, abs=0.02)
    assert named(answer)["share of mid-tones"] < 0.03


def test_distances_equal_scipy(seen):
    spatial = pytest.importorskip("scipy.spatial.distance")
    domain = Domain.fit(seen)
    one = torch.ones(len(FEATURES)).double()
    inverse = np.linalg.inv(np.cov(seen.numpy().T) + 0.02**2 * np.eye(len(FEATURES)))
    assert domain.distance(one) == pytest.approx(spatial.mahalanobis(one, seen.mean(0), inverse), abs=1e-9)
    held_out = []
    for i in range(len(seen)):
        rest = np.delete(seen.numpy(), i, 0)
        inverse = np.linalg.inv(np.cov(rest.T) + 0.02**2 * np.eye(len(FEATURES)))
        held_out.append(spatial.mahalanobis(seen[i], rest.mean(0), inverse))
    assert domain.threshold == pytest.approx(np.quantile(held_out, QUANTILE), rel=1e-5)


def test_nearer_is_told_in_the_covariance_of_both(seen):
    """Along a direction in which images vary a lot, a step counts less."""
    wide = seen.clone()
    wide[:, 0] *= 10
    here, there = Domain.fit(wide), Domain.fit(wide + torch.eye(len(FEATURES)).double()[1] * 4)
    far_along, one_across = torch.zeros(2, len(FEATURES)).double()
    far_along[0], one_across[1] = 9, 3
    assert not here.nearer(there, far_along)
    assert here.nearer(there, one_across)


def test_a_card_keeps_a_domain_and_a_broken_one_is_told(seen):
    domain = Domain.fit(seen)
    card = domain.to_card()
    assert Domain.from_card(card).distance(seen[3]) == pytest.approx(domain.distance(seen[3]), abs=1e-3)
    for broken in (
        {},
        "domain",
        {**card, "features": ["colour"]},
        {**card, "mean": card["mean"][:3]},
        {**card, "mean": [float("nan")] * len(FEATURES)},
        {**card, "covariance": [[-1.0] * len(FEATURES)] * len(FEATURES)},
        {**card, "threshold": "high"},
    ):
        with pytest.raises(WeightsError, match="cannot be read"):
            Domain.from_card(broken)


def test_a_scan_of_another_kind_is_named_with_weights_figure_and_expectation(toy_analyzer, toy_hider):
    pairs = [(ultrasound(seed), torch.rand(1, 3, 64, 64)) for seed in range(24)]
    toy_analyzer.card = {"domain": describe(toy_analyzer, toy_hider, pairs), "sha256": "0123456789"}
    assert unfamiliar_secret(toy_analyzer, ultrasound(99), "scan.png") == []
    (words,) = unfamiliar_secret(toy_analyzer, skin_phantom(0, side=64)[0], "skin.png")
    assert words.startswith("skin.png: the scan is unlike those that toy")
    assert "expected at most" in words
    assert "±" in words


def test_an_answer_where_nothing_is_hidden_is_told_from_one_of_another_kind(toy_analyzer, toy_hider):
    """The toy answers with what was sent: with the scan it lets through, or with the bare photograph."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(24, 3, 4, 4, generator=generator), (64, 64), mode="bilinear")
    toy_hider.config = type(toy_hider.config)(strength=0.9)
    pairs = [(ultrasound(seed), smooth[seed : seed + 1]) for seed in range(20)]
    toy_analyzer.card = {"domain": describe(toy_analyzer, toy_hider, pairs)}
    hidden = toy_hider.hide(ultrasound(50), smooth[22:23])
    assert unfamiliar_output(toy_analyzer, hidden, "a.png") == []
    (words,) = unfamiliar_output(toy_analyzer, smooth[23:24], "b.png")
    assert "where nothing is hidden" in words
    (words,) = unfamiliar_output(toy_analyzer, torch.rand(1, 1, 64, 64).expand(-1, 3, -1, -1), "c.png")
    assert "unlike the answers of toy" in words


def test_a_card_without_statistics_warns_of_nothing(toy_analyzer):
    for card in (None, {}, {"domain": None}):
        toy_analyzer.card = card
        assert unfamiliar_secret(toy_analyzer, torch.rand(1, 3, 64, 64), "x") == []
        assert unfamiliar_output(toy_analyzer, torch.rand(1, 3, 64, 64), "x") == []
