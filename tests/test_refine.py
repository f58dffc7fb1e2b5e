"""Refining a stego: never worse by its own measure, within its bound, tile by tile, and refused where there is no gradient."""

import functools

import pytest
import torch

from privmed import Hider
from privmed.errors import SettingsError
from privmed.imaging import quantise
from privmed.refine import AUTO, Refinement, hide_well, refine, refinement_of
from privmed.settings import structure


class Mixing(Hider):
    """Hide a twentieth of the secret in the difference of two columns; recovering multiplies the rounding of the file by twenty."""

    name = "mixing"
    multiple = 2

    def _hide(self, secret, cover, generator):
        even = cover[..., ::2]
        return torch.stack([even, even + 0.05 * (secret[..., ::2] - 0.5)], -1).flatten(-2)

    def _recover(self, stego, generator):
        return ((stego[..., 1::2] - stego[..., ::2]) / 0.05 + 0.5).repeat_interleave(2, -1)


@pytest.fixture
def mixing():
    from attrs import make_class

    Mixing.Config = make_class("Config", [])
    return Mixing()


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    secret, cover = (torch.rand(2, 3, 81, 27, generator=generator).repeat_interleave(2, -1) for _ in range(2))
    return secret, (cover * 1.4 - 0.2).clamp(0, 1)


def mse(a, b):
    return (a - b).square().flatten(1).mean(1)


def test_more_of_the_secret_comes_back_after_rounding_and_no_value_leaves_the_bound(mixing, pair):
    secret, cover = pair
    plain = mixing.hide(secret, cover)
    seen = []
    refined = mixing.hide(
        secret, cover, refine=Refinement(steps=15, bound=3), progress=lambda a, b: seen.append((a, b))
    )
    assert seen == [(i, 15) for i in range(1, 16)]
    assert float((refined - plain).abs().max()) <= 3 / 255 + 1e-6
    assert 0 <= float(refined.min()) <= float(refined.max()) <= 1
    before, after = (mse(mixing.recover(quantise(x), clamp=False), secret) for x in (plain, refined))
    assert (after < 0.9 * before).all()


def test_each_image_is_kept_at_its_best_and_alone(mixing, pair):
    """One image of a batch is refined as it would be by itself, and steps that only do harm change nothing."""
    secret, cover = pair
    both = mixing.hide(secret, cover, refine=6)
    alone = mixing.hide(secret[:1], cover[:1], refine=6)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=0)
    perfect = quantise(cover)
    kept = refine(lambda x: x, perfect, perfect, perfect, Refinement(steps=4))
    assert torch.equal(kept, perfect)


def test_tiles_are_refined_as_recover_cuts_them(mixing, pair, monkeypatch):
    secret, cover = pair
    monkeypatch.setattr(Mixing, "tile", 64)
    plain, refined = mixing.hide(secret, cover), mixing.hide(secret, cover, refine=8)
    first = mixing.hide(secret[..., :42, :], cover[..., :42, :], refine=8)
    torch.testing.assert_close(refined[..., :42, :], first, atol=1e-5, rtol=0)
    before, after = (mse(mixing.recover(quantise(x), clamp=False), secret) for x in (plain, refined))
    assert (after < before).all()


def test_no_steps_change_nothing_and_a_hider_without_gradient_is_told(mixing, pair, monkeypatch):
    secret, cover = pair
    assert torch.equal(mixing.hide(secret, cover), mixing.hide(secret, cover, refine=0))
    monkeypatch.setattr(Mixing, "_recover", lambda self, stego, generator: stego.detach().round())
    with pytest.raises(SettingsError, match="no gradient"):
        mixing.hide(secret, cover, refine=2)
    with pytest.raises(SettingsError, match="steps must be at least 0"):
        structure(Refinement, {"steps": -1}, "refine")


def test_auto_refines_only_what_falls_short_and_lets_hiders_without_gradient_be(mixing, pair, monkeypatch):
    secret, cover = pair
    hide = functools.partial(mixing.hide, secret, cover)
    auto, two = Refinement(), Refinement(steps=2)
    stego, steps = hide_well(hide, auto, lambda held: False)
    assert (steps, torch.equal(stego, hide())) == (0, True)
    refined, steps = hide_well(hide, auto, lambda held: True)
    assert steps == AUTO
    assert (mse(mixing.recover(quantise(refined)), secret) < mse(mixing.recover(quantise(stego)), secret)).all()
    assert hide_well(hide, two)[1] == 2
    assert hide_well(hide, two, lambda held: False)[1] == 0
    assert hide_well(hide, two, lambda held: True)[1] == 2
    assert hide_well(hide, Refinement(steps=0), lambda held: True)[1] == 0
    monkeypatch.setattr(Mixing, "_recover", lambda self, stego, generator: stego.detach().round())
    assert hide_well(hide, auto, lambda held: True)[1] == 0
    with pytest.raises(SettingsError, match="no gradient"):
        hide_well(hide, two)


def test_refine_is_auto_or_a_number_with_settings():
    assert refinement_of("auto") == (Refinement(steps=AUTO), True)
    assert [refinement_of(text) for text in ("0", "20")] == [(Refinement(steps=steps), False) for steps in (0, 20)]
    assert refinement_of("auto[bound=2]") == (Refinement(steps=AUTO, bound=2), True)
    assert refinement_of("5[bound=1;secret=3]") == (Refinement(steps=5, bound=1, secret=3), False)
    for text in ("", "-1", "2.5", "on", "99999", "²", "[bound=2]"):
        with pytest.raises(SettingsError, match="--refine must be auto or a number"):
            refinement_of(text)
    wrong = {
        "5[bound]": "NAME",
        "5[bound=2": "NAME",
        "5[width=2]": "width",
        "5[bound=300]": "bound",
        "5[steps=2]": "before the brackets",
    }
    for text, told in wrong.items():
        with pytest.raises(SettingsError, match=told):
            refinement_of(text)


def test_steps_that_are_far_too_long_leave_the_stego_as_good_as_it_was(mixing, pair):
    secret, cover = pair
    plain = mixing.hide(secret, cover)
    wild = mixing.hide(secret, cover, refine=Refinement(steps=3, rate=120, bound=255))
    before, after = (mse(mixing.recover(quantise(x), clamp=False), secret) for x in (plain, wild))
    assert (after <= before + 1e-6).all()


def test_recovery_is_asked_of_what_the_file_will_hold():
    seen = []

    def recover(stego):
        seen.append(stego.detach() * 255)
        return stego

    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    refine(recover, images, 1 - images, images, Refinement(steps=2))
    assert len(seen) == 3
    assert all(torch.allclose(x, x.round(), atol=1e-3) for x in seen)


def test_refining_in_inference_mode_is_refining(mixing, pair):
    outside = mixing.hide(*pair, refine=5)
    assert not torch.equal(outside, mixing.hide(*pair))
    with torch.inference_mode():
        inside = [mixing.hide(*pair, refine=5), mixing.hide(*(x.clone() for x in pair), refine=5)]
    assert all(torch.equal(one, outside) for one in inside)
