"""Checks of settings: what a value may be, said in a sentence when it is not; :mod:`privmed.settings` hands them on."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs

from privmed.errors import did_you_mean
from privmed.files import plain
from privmed.structuring import Check


def one_of(*choices: Any) -> Check:
    """Accept only the given values.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import one_of, setting
        >>> @frozen
        ... class Config:
        ...     edges: str = setting("soft", "how edges are drawn", one_of("soft", "hard"))
        >>> Config(edges="sofd")
        Traceback (most recent call last):
        ValueError: edges must be one of 'soft', 'hard', got 'sofd'. Did you mean 'soft'?
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if value not in choices:
            hint = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
            raise ValueError(f"{attribute.name} must be one of {', '.join(map(repr, choices))}, got {value!r}.{hint}")

    check.says = f"one of {', '.join(map(repr, choices))}"  # type: ignore[attr-defined]
    return check


def among(*choices: Any) -> Check:
    """Accept lists of nothing but the given values.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import among, setting
        >>> @frozen
        ... class Config:
        ...     bands: list = setting(["ll"], "bands that are kept", among("ll", "lh", "hl", "hh"))
        >>> Config(bands=["ll", "lk"])
        Traceback (most recent call last):
        ValueError: bands must be among ll, lh, hl, hh, got 'lk'.
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        for wrong in (v for v in value if v not in choices):
            hint = did_you_mean(wrong, choices) if isinstance(wrong, str) else ""
            raise ValueError(f"{attribute.name} must be among {', '.join(map(str, choices))}, got {wrong!r}.{hint}")

    check.says = f"among {', '.join(map(str, choices))}"  # type: ignore[attr-defined]
    return check


def between(low: float, high: float) -> Check:
    """Accept finite numbers with ``low <= value <= high``.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import between, setting
        >>> @frozen
        ... class Config:
        ...     share: float = setting(0.5, "share of the images", between(0, 1))
        >>> Config(share=2.0)
        Traceback (most recent call last):
        ValueError: share must lie in [0, 1], got 2.0
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must lie in [{low}, {high}], got {value!r}")

    check.says = f"{low} to {high}"  # type: ignore[attr-defined]
    return check


def at_least(low: float) -> Check:
    """Accept numbers with ``value >= low`` (NaN is refused).

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import at_least, setting
        >>> @frozen
        ... class Config:
        ...     blocks: int = setting(8, "blocks of the network", at_least(1))
        >>> Config(blocks=0)
        Traceback (most recent call last):
        ValueError: blocks must be at least 1, got 0
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not value >= low:
            raise ValueError(f"{attribute.name} must be at least {low}, got {value!r}")

    check.says = f"at least {low}"  # type: ignore[attr-defined]
    return check


def file_name(longest: int = 64) -> Check:
    """Accept text that becomes a part of the names of files: letters, digits, ``.``, ``_`` and ``-``; no dot or dash in front.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import file_name, setting
        >>> @frozen
        ... class Config:
        ...     label: str = setting("mine", "name of the folder", file_name())
        >>> Config(label="../mine")
        Traceback (most recent call last):
        ValueError: label must be at most 64 letters, digits, '_', '-' and '.', no '-' or '.' first, got '../mine'
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{longest - 1}}}", value):
            raise ValueError(
                f"{attribute.name} must be at most {longest} letters, digits, '_', '-' and '.', no '-' or '.' first, got {value!r}"
            )

    check.says = "letters, digits, . _ -"  # type: ignore[attr-defined]
    return check


def inner_path() -> Check:
    """Accept a path that stays inside the folder it is relative to.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import inner_path, setting
        >>> @frozen
        ... class Config:
        ...     images: str = setting("images", "folder inside the data set", inner_path())
        >>> Config(images="../images")
        Traceback (most recent call last):
        ValueError: images must stay inside its folder, but '../images' leads upwards
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        try:
            plain(value)
        except ValueError as error:
            raise ValueError(f"{attribute.name} must stay inside its folder, but {value!r} {error}") from error

    check.says = "a relative path without .."  # type: ignore[attr-defined]
    return check


def side(multiple: int = 16) -> Check:
    """Accept sides of images that networks halve again and again: at least 32 and a multiple.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import setting, side
        >>> @frozen
        ... class Config:
        ...     size: int = setting(224, "side of the images", side(multiple=16))
        >>> Config(size=100)
        Traceback (most recent call last):
        ValueError: size must be at least 32 and a multiple of 16, got 100
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if value < 32 or value % multiple:
            raise ValueError(f"{attribute.name} must be at least 32 and a multiple of {multiple}, got {value!r}")

    check.says = f"at least 32 and a multiple of {multiple}"  # type: ignore[attr-defined]
    return check


def positive() -> Check:
    """Accept numbers greater than zero (NaN is refused).

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import positive, setting
        >>> @frozen
        ... class Config:
        ...     alpha: float = setting(2.0, "clamp of the log-scale", positive())
        >>> Config(alpha=0.0)
        Traceback (most recent call last):
        ValueError: alpha must be a number greater than 0, got 0.0
    """

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"{attribute.name} must be a number greater than 0, got {value!r}")

    check.says = "greater than 0"  # type: ignore[attr-defined]
    return check
