"""Settings: frozen attrs classes whose mistakes are told all at once, each with its path and the way out.

A method's settings read like a table of its paper::

    @frozen(kw_only=True)
    class HiNetConfig:
        blocks: int = setting(16, "invertible blocks", at_least(1))
        alpha: float = setting(2.0, "clamp of the log-scale", positive())
"""

from __future__ import annotations

import copy
import math
import re
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from privmed.errors import SettingsError, did_you_mean
from privmed.files import plain

T = TypeVar("T")
Check = Callable[[Any, attrs.Attribute, Any], None]
LARGEST_SEED = 2**32 - 1  # what every generator takes, whatever is added to it


def setting(default: Any, doc: str, *checks: Check, formerly: str = "") -> Any:
    """Declare one setting with its default, its one-line description and its validators.

    A default that hangs on a setting declared before is an ``attrs.Factory(..., takes_self=True)``. ``formerly`` is a name that it
    had, which goes on working with a warning.
    """
    if isinstance(default, (list, dict)):
        default = attrs.Factory(lambda shared=default: copy.deepcopy(shared))
    return attrs.field(default=default, validator=list(checks), metadata={"doc": doc, "formerly": formerly})


def required(doc: str, *checks: Check) -> Any:
    """Declare a setting that has no default."""
    return attrs.field(validator=list(checks), metadata={"doc": doc})


def one_of(*choices: Any) -> Check:
    """Accept only the given values."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if value not in choices:
            hint = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
            raise ValueError(f"{attribute.name} must be one of {', '.join(map(repr, choices))}, got {value!r}.{hint}")

    check.says = f"one of {', '.join(map(repr, choices))}"  # type: ignore[attr-defined]
    return check


def among(*choices: Any) -> Check:
    """Accept lists of nothing but the given values."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        for wrong in (v for v in value if v not in choices):
            hint = did_you_mean(wrong, choices) if isinstance(wrong, str) else ""
            raise ValueError(f"{attribute.name} must be among {', '.join(map(str, choices))}, got {wrong!r}.{hint}")

    check.says = f"among {', '.join(map(str, choices))}"  # type: ignore[attr-defined]
    return check


def between(low: float, high: float) -> Check:
    """Accept finite numbers with ``low <= value <= high``."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must lie in [{low}, {high}], got {value!r}")

    check.says = f"{low} to {high}"  # type: ignore[attr-defined]
    return check


def at_least(low: float) -> Check:
    """Accept numbers with ``value >= low`` (NaN is refused)."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not value >= low:
            raise ValueError(f"{attribute.name} must be at least {low}, got {value!r}")

    check.says = f"at least {low}"  # type: ignore[attr-defined]
    return check


def file_name(longest: int = 64) -> Check:
    """Accept text that becomes a part of the names of files: letters, digits, ``.``, ``_`` and ``-``; no dot or dash in front."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{longest - 1}}}", value):
            raise ValueError(
                f"{attribute.name} must be at most {longest} letters, digits, '_', '-' and '.', no '-' or '.' first, got {value!r}"
            )

    check.says = "letters, digits, . _ -"  # type: ignore[attr-defined]
    return check


def inner_path() -> Check:
    """Accept a path that stays inside the folder it is relative to."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        try:
            plain(value)
        except ValueError as error:
            raise ValueError(f"{attribute.name} must stay inside its folder, but {value!r} {error}") from error

    check.says = "a relative path without .."  # type: ignore[attr-defined]
    return check


def side(multiple: int = 16) -> Check:
    """Accept sides of images that networks halve again and again: at least 32 and a multiple."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if value < 32 or value % multiple:
            raise ValueError(f"{attribute.name} must be at least 32 and a multiple of {multiple}, got {value!r}")

    check.says = f"at least 32 and a multiple of {multiple}"  # type: ignore[attr-defined]
    return check


def positive() -> Check:
    """Accept numbers greater than zero (NaN is refused)."""

    def check(_: Any, attribute: attrs.Attribute, value: Any) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"{attribute.name} must be a number greater than 0, got {value!r}")

    check.says = "greater than 0"  # type: ignore[attr-defined]
    return check


def structure(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build ``cls`` from plain data (YAML, JSON, keywords), or say everything that is wrong with it.

    Args:
        cls: an attrs class, possibly nested.
        values: its settings by name.
        where: what the settings belong to, for messages: a method's name or a recipe's path.

    Raises:
        SettingsError: listing *all* unknown names, wrong types and out-of-range values, each with its path.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where}: expected settings by name, got {type(values).__name__}.")
    try:
        return _converter.structure(values, cls)
    except Exception as error:
        mistakes = list(_mistakes(error, cls, ""))
        if len(mistakes) == 1:
            raise SettingsError(f"{where}: {mistakes[0]}") from error
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        raise SettingsError(f"{where}: {len(mistakes)} mistakes in the settings:{lines}") from error


def unstructure(config: Any) -> dict[str, Any]:
    """Turn a settings object back into plain data; ``structure`` of the result gives an equal object."""
    return _converter.unstructure(config)


def describe(cls: type) -> list[dict[str, Any]]:
    """Describe a settings class: one dict (name, type, default, allowed, doc) a setting."""
    hints = typing.get_type_hints(cls)
    rows = []
    for a in attrs.fields(cls):
        default = _default(cls, a)
        rows.append(
            {
                "name": a.name,
                "type": _type_name(hints[a.name]),
                "default": None if default is attrs.NOTHING else _converter.unstructure(default),
                "allowed": "; ".join(filter(None, (getattr(v, "says", "") for v in _validators(a)))),
                "doc": a.metadata.get("doc", ""),
            }
        )
    return rows


def parse_assignments(pairs: list[str]) -> dict[str, Any]:
    """Turn ``["blocks=4", "loss.beta=2"]`` into ``{"blocks": 4, "loss": {"beta": 2}}``; values are YAML.

    Example:
        >>> parse_assignments(["blocks=4", "loss.beta=2"])
        {'blocks': 4, 'loss': {'beta': 2}}

    Raises:
        SettingsError: for a pair without ``=`` or a value that is not YAML.
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
        node[last] = _number(parsed)
    return out


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, descending into nested mappings."""
    out = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if nested else value
    return out


class RenamedSetting(DeprecationWarning):
    """A setting was given under its old name."""


class _OutOfRange(ValueError):
    """What a validator said; the message begins with the setting's name."""


# --- inside -----------------------------------------------------------------------------------------------------------


def _number(value: Any) -> Any:
    """YAML reads ``1e-3`` as text, and knows no fractions; people write both (``epsilon=4/255``)."""
    if isinstance(value, str):
        top, slash, bottom = value.partition("/")
        try:
            return float(top) / float(bottom) if slash else float(value)
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _validators(attribute: attrs.Attribute) -> list[Check]:
    v = attribute.validator
    return [] if v is None else list(getattr(v, "_validators", (v,)))


def _default(cls: type, attribute: attrs.Attribute) -> Any:
    default: Any = attribute.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    return getattr(cls(), attribute.name) if default.takes_self else default.factory()


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _strict(kind: type, accepted: tuple[type, ...], noun: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        value = _number(value) if kind is float else value
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, accepted):
            raise ValueError(f"must be {noun}, got {value!r}")
        return kind(value)

    return hook


def _mistakes(error: BaseException, cls: Any, path: str) -> typing.Iterator[str]:
    """Walk an exception tree of cattrs and yield one sentence a leaf."""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [a.name for a in attrs.fields(error.cl)]
        removed = getattr(error.cl, "removed", {})
        for name in sorted(error.extra_fields):
            if name in removed:
                yield f"no setting {_at(path, name)!r} any more; {removed[name]}."
                continue
            yield f"no setting {_at(path, name)!r}; there are {', '.join(sorted(known))}.{did_you_mean(name, known)}"
    elif isinstance(error, BaseExceptionGroup):
        for sub in error.exceptions:
            yield from _mistakes(sub, cls, path + _step(sub))
    elif isinstance(error, KeyError):
        yield f"{_at(path, error.args[0])} is missing."
    elif isinstance(error, _OutOfRange):
        yield f"{path}.{error}".lstrip(".")
    else:
        yield f"{path} {error}".strip(" .")


def _step(error: BaseException) -> str:
    """The part of the path that cattrs noted on an exception (``.name`` or ``[index]``)."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            return "" if isinstance(error, KeyError) else f".{note.name}"
        if isinstance(note, cattrs.IterableValidationNote):
            return f"[{note.index!r}]"
    return ""


def _at(path: str, name: str) -> str:
    return f"{path}.{name}".lstrip(".")


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, accepted, noun in (
        (int, (int,), "a whole number"),
        (float, (int, float), "a number"),
        (bool, (bool,), "true or false"),
        (str, (str,), "text"),
    ):
        converter.register_structure_hook(kind, _strict(kind, accepted, noun))

    def checked(cls: type) -> Callable[[Any, Any], Any]:
        inner = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)

        def hook(values: Any, target: Any) -> Any:
            if not isinstance(values, Mapping):
                raise ValueError(f"must be settings by name, got {values!r}")
            values = _renamed(cls, values)
            with attrs.validators.disabled():
                try:
                    made, early = inner(values, target), None
                except Exception as error:
                    made, early = None, error
            late = list(_validate(cls, made, values))
            if early is None and not late:
                return made
            raise ExceptionGroup("settings", [e for e in (early, *late) if e is not None])

        return hook

    converter.register_structure_hook_factory(attrs.has, checked)
    return converter


def _renamed(cls: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings by their present names; a former one is warned of."""
    present = {a.metadata["formerly"]: a.name for a in attrs.fields(cls) if a.metadata.get("formerly")}
    for former, name in present.items():
        if former in values and name in values:
            raise ValueError(f"{name} is given twice, once under its old name {former}")
        if former in values:
            # All that are declared were renamed in 0.2; they leave with privmed 0.3.
            warnings.warn(f"the setting {former!r} is called {name!r} now.", RenamedSetting, stacklevel=2)
    return {present.get(name, name): value for name, value in values.items()}


def _validate(cls: type, made: Any, values: Mapping[str, Any]) -> typing.Iterator[Exception]:
    """Run every validator, so that out-of-range values are told beside unknown names and wrong types."""
    for a in attrs.fields(cls):
        if made is None and a.name not in values:
            continue
        value = values[a.name] if made is None else getattr(made, a.name)
        for check in _validators(a):
            try:
                check(made, a, value)
            except ValueError as error:
                yield _OutOfRange(str(error))
                break
            except TypeError:
                break  # a value of the wrong type: already told by the structuring step


_converter = _make_converter()
