"""Settings: frozen attrs classes whose mistakes are told all at once, each with its path and the way out.

A method's settings read like a table of its paper::

    @frozen(kw_only=True)
    class HiNetConfig:
        blocks: int = setting(16, "invertible blocks", at_least(1))
        alpha: float = setting(2.0, "clamp of the log-scale", positive())
"""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from privmed.checks import among, at_least, between, file_name, inner_path, one_of, positive, side
from privmed.errors import SettingsError
from privmed.structuring import Check, RenamedSetting, number, structure, unstructure, validators_of

__all__ = [
    "LARGEST_SEED",
    "Check",
    "RenamedSetting",
    "among",
    "at_least",
    "between",
    "describe",
    "file_name",
    "inner_path",
    "merge",
    "one_of",
    "parse_assignments",
    "parse_named",
    "positive",
    "required",
    "setting",
    "side",
    "structure",
    "unstructure",
]
LARGEST_SEED = 2**32 - 1  # what every generator takes, whatever is added to it


def setting(default: Any, doc: str, *checks: Check, formerly: str = "") -> Any:
    """Declare one setting with its default, its one-line description and its validators.

    A default that hangs on a setting declared before is an ``attrs.Factory(..., takes_self=True)``. ``formerly`` is a name that it
    had, which goes on working with a warning.

    Args:
        default: its value where nobody says otherwise; a list or dict is copied for each object.
        doc: what it sets, for pages and listings.
        checks: what its value has to pass, such as :func:`between`.
        formerly: its name before the present one.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import positive, setting
        >>> @frozen(kw_only=True)
        ... class Config:
        ...     alpha: float = setting(2.0, "clamp of the log-scale", positive())
        >>> Config(alpha=1.5)
        Config(alpha=1.5)
    """
    if isinstance(default, (list, dict)):
        default = attrs.Factory(lambda shared=default: copy.deepcopy(shared))
    return attrs.field(default=default, validator=list(checks), metadata={"doc": doc, "formerly": formerly})


def required(doc: str, *checks: Check) -> Any:
    """Declare a setting that has no default.

    Example:
        >>> from attrs import frozen
        >>> from privmed.settings import required, structure
        >>> @frozen(kw_only=True)
        ... class Plan:
        ...     suite: str = required("what is measured")
        >>> structure(Plan, {}, "plan.yaml")
        Traceback (most recent call last):
        privmed.errors.SettingsError: plan.yaml: suite is missing.
    """
    return attrs.field(validator=list(checks), metadata={"doc": doc})


def describe(cls: type) -> list[dict[str, Any]]:
    """Describe a settings class: one dict (name, type, default, allowed, doc) a setting.

    Example:
        >>> from privmed import Watermarker
        >>> from privmed.settings import describe
        >>> describe(Watermarker.Config)[1]
        {'name': 'batch', 'type': 'int', 'default': 64, 'allowed': 'at least 1', 'doc': 'images the oracle is asked about at a time'}
    """
    hints = typing.get_type_hints(cls)
    rows = []
    for a in attrs.fields(cls):
        default = _default(cls, a)
        rows.append(
            {
                "name": a.name,
                "type": _type_name(hints[a.name]),
                "default": None if default is attrs.NOTHING else unstructure(default),
                "allowed": "; ".join(filter(None, (getattr(v, "says", "") for v in validators_of(a)))),
                "doc": a.metadata.get("doc", ""),
            }
        )
    return rows


def parse_assignments(pairs: list[str]) -> dict[str, Any]:
    """Turn ``["blocks=4", "loss.beta=2"]`` into ``{"blocks": 4, "loss": {"beta": 2}}``; values are YAML.

    Raises:
        SettingsError: for a pair without ``=`` or a value that is not YAML.

    Example:
        >>> from privmed.settings import parse_assignments
        >>> parse_assignments(["blocks=4", "loss.beta=2"])
        {'blocks': 4, 'loss': {'beta': 2}}
    """
    import yaml

    out: dict[str, Any] = {}
    for pair in pairs:
        path, sign, value = pair.partition("=")
        if not sign or not path:
            raise SettingsError(f"--set {pair!r}: expected name=value.")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {pair!r}: {value!r} is not a YAML value.") from error
        *parents, last = path.split(".")
        node = out
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise SettingsError(f"--set {pair!r}: {name} was given a value of its own before.")
        node[last] = number(parsed)
    return out


def parse_named(text: str) -> tuple[str, dict[str, Any]]:
    """Turn ``"umed[robust=true;cycles=20]"`` into a name and its settings; values are YAML.

    Raises:
        SettingsError: for brackets that do not close or hold anything else.

    Example:
        >>> from privmed.settings import parse_named
        >>> parse_named("umed[robust=true;cycles=20]")
        ('umed', {'robust': True, 'cycles': 20})
    """
    name, bracket, rest = str(text).partition("[")
    pairs = rest[:-1].split(";") if rest[:-1] else []
    if bracket and (not rest.endswith("]") or not all("=" in pair for pair in pairs)):
        raise SettingsError(f"{text}: expected NAME[setting=value;setting=value].")
    return name.strip(), parse_assignments(pairs)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, descending into nested mappings.

    Example:
        >>> from privmed.settings import merge
        >>> merge({"steps": 100, "loss": {"beta": 1, "gamma": 3}}, {"loss": {"beta": 2}})
        {'steps': 100, 'loss': {'beta': 2, 'gamma': 3}}
    """
    out = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if nested else value
    return out


def _default(cls: type, attribute: attrs.Attribute) -> Any:
    default: Any = attribute.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return getattr(cls(), attribute.name) if default.takes_self else default.factory()


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
