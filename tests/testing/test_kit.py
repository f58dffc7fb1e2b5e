"""The kit catches what it is there to catch: one deliberately broken method a check."""

import pytest
import torch
from attrs import define, frozen

from privmed.errors import PrivmedError, SettingsError
from privmed.settings import setting
from privmed.testing import (
    analyzer_checks,
    checks_for,
    common_checks,
    hider_checks,
    parametrize_with_checks,
    settings_checks,
)


def test_toys_conform(toy_hider, toy_analyzer):
    for method in (toy_hider, toy_analyzer):
        for check in checks_for(method.kind):
            check(method)


def scaled_by_batch(x):
    return x * (1 - 0.1 * (len(x) - 1))


def in_place(x):
    x.mul_(0.5)
    return x


def unseeded(x):
    return x * 0.5 + 0.5 * torch.rand(x.shape)


BROKEN = [
    (hider_checks.check_batch_equals_items, scaled_by_batch),
    (hider_checks.check_inputs_are_left_alone, in_place),
    (hider_checks.check_same_seed_same_bytes, unseeded),
    (hider_checks.check_hide_keeps_shape_dtype_and_range, lambda x: x[..., :-1]),
    (hider_checks.check_hide_keeps_shape_dtype_and_range, lambda x: x * torch.nan),
    (hider_checks.check_gradients_on_request, lambda x: x.detach()),
]


@pytest.mark.parametrize(("check", "fault"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_broken_hiders_are_caught(toy_hider, check, fault):
    toy_hider._hide = lambda secret, cover, generator: fault(secret)
    with pytest.raises((AssertionError, PrivmedError, RuntimeError)):
        check(toy_hider)


ANALYZER = [
    (analyzer_checks.check_batch_equals_items, scaled_by_batch),
    (analyzer_checks.check_inputs_are_left_alone, in_place),
    (analyzer_checks.check_same_seed_same_bytes, unseeded),
    (analyzer_checks.check_analyze_keeps_shape_dtype_and_range, lambda x: x[:, :1]),
]


@pytest.mark.parametrize(("check", "fault"), ANALYZER, ids=lambda v: getattr(v, "__name__", ""))
def test_broken_analyzers_are_caught(toy_analyzer, check, fault):
    toy_analyzer._analyze = lambda stego, generator: fault(stego)
    with pytest.raises((AssertionError, PrivmedError, RuntimeError)):
        check(toy_analyzer)


def test_open_doors_are_caught(toy_hider):
    """A method that lets bad input through fails the checks of bad input."""
    object.__setattr__(toy_hider, "hide", lambda secret, cover, **_: torch.rand(1, 3, 48, 64))
    for check in (
        hider_checks.check_bad_secrets_are_refused,
        hider_checks.check_bad_covers_are_refused,
        hider_checks.check_batches_must_match,
    ):
        with pytest.raises((AssertionError, AttributeError)):
            check(toy_hider)


def test_settings_without_description_or_freezing_are_caught(toy_hider):
    @define(kw_only=True)
    class Loose:
        strength: float = 0.1

    class Fluid(type(toy_hider)):
        Config = Loose

    for check in (
        settings_checks.check_settings_have_defaults_and_descriptions,
        settings_checks.check_settings_are_frozen,
    ):
        with pytest.raises(AssertionError):
            check(Fluid())


def test_state_outside_the_state_dict_is_caught(toy_hider):
    @frozen(kw_only=True)
    class Depth:
        depth: int = setting(1, "layers")

    class Growing(type(toy_hider)):
        Config = Depth

    method = Growing()
    method.late = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(RuntimeError, match="late"):
        common_checks.check_state_dict_restores(method)


def test_expected_failures_must_name_checks():
    with pytest.raises(SettingsError, match="no check 'check_nothing'"):
        parametrize_with_checks("hider:lightih", {"check_nothing": "because"})
