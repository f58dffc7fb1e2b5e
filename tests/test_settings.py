"""Settings: strict, complete in their complaints, and the same after a round trip."""

from typing import ClassVar

import pytest
from attrs import Factory, frozen

from privmed.errors import SettingsError
from privmed.settings import (
    at_least,
    between,
    describe,
    merge,
    one_of,
    parse_assignments,
    positive,
    required,
    setting,
    structure,
    unstructure,
)


@frozen(kw_only=True)
class Inner:
    rate: float = setting(0.1, "a rate", positive())
    mode: str = setting("soft", "how", one_of("soft", "hard"))


@frozen(kw_only=True)
class Outer:
    name: str = required("its name")
    size: int = setting(3, "how many", at_least(1))
    share: float = setting(0.5, "part", between(0, 1))
    on: bool = setting(True, "whether")
    inner: Inner = setting(Factory(Inner), "nested")
    many: list[Inner] = setting(Factory(list), "several")


def test_round_trip():
    made = structure(Outer, {"name": "x", "size": 4, "many": [{"rate": 2}]}, "here")
    assert structure(Outer, unstructure(made), "there") == made
    assert made.many[0].rate == 2.0


def test_every_mistake_is_told_at_once_with_its_path():
    bad = {
        "size": 0,
        "share": "half",
        "onn": True,
        "inner": {"mode": "hrad", "rate": -1},
        "many": [{"rate": 1}, {"raet": 1}],
    }
    with pytest.raises(SettingsError) as caught:
        structure(Outer, bad, "recipe.yaml")
    text = str(caught.value)
    for words in (
        "7 mistakes",
        "size must be at least 1",
        "share",
        "Did you mean 'on'?",
        "inner.mode",
        "inner.rate",
        "many[1]",
        "'rate'",
        "name is missing",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("value", "words"), [(True, "whole number"), (1.5, "whole number"), ("1", "whole number"), (None, "whole number")]
)
def test_types_are_strict(value, words):
    with pytest.raises(SettingsError, match=words):
        structure(Outer, {"name": "x", "size": value}, "here")


def test_nan_is_out_of_every_range():
    for name in ("share",):
        with pytest.raises(SettingsError, match="must lie in"):
            structure(Outer, {"name": "x", name: float("nan")}, "here")
    with pytest.raises(SettingsError, match="greater than 0"):
        structure(Inner, {"rate": float("nan")}, "here")


@pytest.mark.parametrize(("text", "value"), [("4/255", 4 / 255), ("1e-3", 1e-3), ("0.5", 0.5), ("2", 2)])
def test_numbers_as_people_write_them(text, value):
    assert parse_assignments([f"a.b={text}"]) == {"a": {"b": value}}


def test_assignments_need_a_name_and_a_sign():
    for bad in ("a", "=3"):
        with pytest.raises(SettingsError, match="expected name=value"):
            parse_assignments([bad])


@frozen(kw_only=True)
class Hanging:
    quick: bool = setting(False, "less")
    epochs: int = setting(Factory(lambda made: 1 if made.quick else 9, takes_self=True), "how many", at_least(1))

    removed: ClassVar[dict[str, str]] = {"speed": "say quick instead"}


def test_a_default_can_hang_on_another_setting():
    assert structure(Hanging, {}, "here").epochs == 9
    assert unstructure(structure(Hanging, {"quick": True}, "here")) == {"quick": True, "epochs": 1}
    assert structure(Hanging, {"quick": True, "epochs": 5}, "here").epochs == 5
    assert {r["name"]: r["default"] for r in describe(Hanging)} == {"quick": False, "epochs": 9}


def test_a_setting_that_was_removed_says_what_to_do_instead():
    with pytest.raises(SettingsError) as caught:
        structure(Hanging, {"speed": 3}, "here")
    assert str(caught.value) == "here: no setting 'speed' any more; say quick instead."


def test_lists_are_not_shared_between_objects():
    @frozen(kw_only=True)
    class Listed:
        levels: list[int] = setting([1, 2], "levels")

    Listed().levels.append(3)
    assert Listed().levels == [1, 2]


def test_merge_descends():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}


def test_describe_tells_default_range_and_meaning():
    rows = {r["name"]: r for r in describe(Outer)}
    assert rows["size"] == {"name": "size", "type": "int", "default": 3, "allowed": "at least 1", "doc": "how many"}


@frozen(kw_only=True)
class Renamed:
    speed: int = setting(3, "how fast", at_least(1), formerly="rate")


def test_a_former_name_works_with_a_warning_that_names_the_new_one():
    with pytest.warns(DeprecationWarning, match="'rate' is called 'speed' now"):
        assert structure(Renamed, {"rate": 5}, "here").speed == 5
    with (
        pytest.warns(DeprecationWarning, match="speed"),
        pytest.raises(SettingsError, match="speed must be at least 1, got 0"),
    ):
        structure(Renamed, {"rate": 0}, "here")
    with pytest.raises(SettingsError, match="no setting 'rate'"):
        structure(Renamed, {"rate": 5, "speed": 6}, "here")
