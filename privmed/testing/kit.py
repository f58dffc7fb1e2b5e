"""Which checks a method has to pass, and the decorator that runs them under pytest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from privmed.errors import PrivmedError, SettingsError
from privmed.interfaces import FileHider, Method
from privmed.testing import (
    analyzer_checks,
    common_checks,
    file_hider_checks,
    hider_checks,
    protector_checks,
    watermarker_checks,
)

Check = Callable[[Method], None]
MODULES = {
    "hider": (common_checks, hider_checks),
    "file hider": (common_checks, file_hider_checks),
    "analyzer": (common_checks, analyzer_checks),
    "protector": (common_checks, protector_checks),
    "watermarker": (common_checks, watermarker_checks),
}


def checks_for(kind: str) -> list[Check]:
    """Return the checks of an interface (a kind, or ``"file hider"``) by name: plain functions whose first line is their promise."""
    modules = MODULES.get(kind, (common_checks,))
    found = [f for module in modules for name, f in vars(module).items() if name.startswith("check_")]
    return sorted(found, key=lambda f: f.__name__)


def parametrize_with_checks(
    target: str | Method | Callable[[], Method], expected_failures: Mapping[str, str] | None = None, **settings: Any
) -> Callable:
    """Run a test once for every check of a method's interface.

    Args:
        target: ``"kind:name"`` (made with random weights and the given settings), a method, or a function that makes one.
        expected_failures: name of a check to the reason why it cannot hold. A check that is expected to fail and passes is
            a failure: the list stays honest.
        settings: of the method, when ``target`` is a name.

    Returns:
        A decorator for a test function of two arguments, the method and the check.

    Raises:
        SettingsError: when an expected failure names no check.
    """
    import pytest

    expected = dict(expected_failures or {})
    interface, make = _maker(target, settings)
    checks = checks_for(interface)
    unknown = sorted(expected.keys() - {c.__name__ for c in checks})
    if unknown:
        raise SettingsError(
            f"expected_failures: no check {unknown[0]!r}; there are {', '.join(c.__name__ for c in checks)}."
        )

    def decorate(test: Callable) -> Callable:
        @pytest.mark.parametrize("check", checks, ids=lambda c: c.__name__)
        def conforms(check: Check) -> None:
            reason = expected.get(check.__name__)
            if reason is None:
                test(make(), check)
                return
            with pytest.raises(Exception):  # noqa: B017  (any failure is the expected one)
                test(make(), check)
            pytest.xfail(reason)

        conforms.__name__, conforms.__doc__, conforms.__module__ = test.__name__, test.__doc__, test.__module__
        return conforms

    return decorate


def _maker(target: Any, settings: dict[str, Any]) -> tuple[str, Callable[[], Method]]:
    if isinstance(target, str):
        from privmed import registry

        kind, _, name = target.partition(":")
        try:
            interface = _interface(registry.load(kind, name))
        except PrivmedError:  # it says so in each of the tests
            interface = kind
        return interface, functools.partial(registry.create, kind, name, None, None, **settings)
    if isinstance(target, Method):
        return _interface(type(target)), lambda: target
    return _interface(type(target())), target


def _interface(cls: type[Method]) -> str:
    """Whose checks a method has to pass."""
    return "file hider" if issubclass(cls, FileHider) else cls.kind
