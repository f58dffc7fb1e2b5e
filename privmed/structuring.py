"""From plain data to settings: the conversion that tells all mistakes at once, each with its path."""

from __future__ import annotations

import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from privmed.errors import SettingsError, did_you_mean

T = TypeVar("T")
Check = Callable[[Any, attrs.Attribute, Any], None]


class RenamedSetting(DeprecationWarning):
    """A setting was given under its old name.

    Example:
        >>> import privmed, warnings
        >>> from privmed.settings import RenamedSetting
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always", RenamedSetting)
        ...     marker = privmed.watermarker("medlocker", veil=8)
        >>> print(told[0].message)
        the setting 'veil' is called 'jitter' now.
    """


class _OutOfRange(ValueError):
    """What a validator said; the message begins with the setting's name."""


def structure(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build ``cls`` from plain data (YAML, JSON, keywords), or say everything that is wrong with it.

    Args:
        cls: an attrs class, possibly nested.
        values: its settings by name.
        where: what the settings belong to, for messages: a method's name or a recipe's path.

    Raises:
        SettingsError: listing *all* unknown names, wrong types and out-of-range values, each with its path.

    Example:
        >>> from privmed import Watermarker
        >>> from privmed.settings import structure
        >>> structure(Watermarker.Config, {"margin": 0.2}, "mine")
        WatermarkerConfig(margin=0.2, batch=64)
        >>> structure(Watermarker.Config, {"margin": 2, "bach": 8}, "mine")
        Traceback (most recent call last):
        privmed.errors.SettingsError: mine: 2 mistakes in the settings:
          - no setting 'bach'; there are batch, margin. Did you mean 'batch'?
          - margin must lie in [0, 1], got 2
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
    """Turn a settings object back into plain data; ``structure`` of the result gives an equal object.

    Example:
        >>> from privmed import Watermarker
        >>> from privmed.settings import unstructure
        >>> unstructure(Watermarker.Config(margin=0.2))
        {'margin': 0.2, 'batch': 64}
    """
    return _converter.unstructure(config)


def number(value: Any) -> Any:
    """YAML reads ``1e-3`` as text, and knows no fractions; people write both (``epsilon=4/255``)."""
    if isinstance(value, str):
        top, slash, bottom = value.partition("/")
        try:
            return float(top) / float(bottom) if slash else float(value)
        except (ValueError, ZeroDivisionError):
            return value
    return value


def validators_of(attribute: attrs.Attribute) -> list[Check]:
    v = attribute.validator
    return [] if v is None else list(getattr(v, "_validators", (v,)))


def _strict(kind: type, accepted: tuple[type, ...], noun: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        value = number(value) if kind is float else value
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
        for check in validators_of(a):
            try:
                check(made, a, value)
            except ValueError as error:
                yield _OutOfRange(str(error))
                break
            except TypeError:
                break  # a value of the wrong type: already told by the structuring step


_converter = _make_converter()
