"""Checks of settings, which methods and parts of comparisons share."""

from __future__ import annotations

from typing import Any

import attrs

from privmed.errors import SettingsError
from privmed.settings import structure, unstructure


def check_settings_round_trip(method: Any) -> None:
    """Settings survive the way through plain data, as recipes and model cards need it."""
    plain = unstructure(method.config)
    assert structure(type(method).Config, plain, method.name) == method.config


def check_settings_have_defaults_and_descriptions(method: Any) -> None:
    """Every setting has a default and says in a line what it is."""
    type(method).Config()
    for field in attrs.fields(type(method).Config):
        assert field.metadata.get("doc"), (
            f"setting {field.name} has no description; declare it with privmed.settings.setting"
        )


def check_unknown_setting_is_answered(method: Any) -> None:
    """A setting that does not exist is refused with a SettingsError that names the method."""
    try:
        structure(type(method).Config, {"no_such_setting": 1}, method.name)
    except SettingsError as error:
        assert "no_such_setting" in str(error)
        return
    raise AssertionError("a misspelt setting was accepted")


def check_settings_are_frozen(method: Any) -> None:
    """Settings cannot be changed behind the back of whoever holds them."""
    for field in attrs.fields(type(method).Config):
        try:
            setattr(method.config, field.name, getattr(method.config, field.name))
        except attrs.exceptions.FrozenInstanceError:
            continue
        raise AssertionError(f"setting {field.name} can be assigned; use attrs.frozen")
