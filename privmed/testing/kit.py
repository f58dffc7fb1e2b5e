"""Which checks a method or part has to pass, and the decorator that runs them under pytest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from privmed import registry
from privmed.errors import SettingsError
from privmed.hooks import METHODS
from privmed.interfaces import BareAnalyzer, FileHider
from privmed.settings import structure
from privmed.shared_key import with_key

Check = Callable[[Any], None]
FILES, BARE = "file_hider", "bare_analyzer"  # contracts beside the usual one of their kind have checks of their own


def checks_for(kind: str) -> list[Check]:
    """Return the checks of a kind, by name: plain functions whose first line is their promise.

    ``"file_hider"`` and ``"bare_analyzer"`` are the checks of the second contracts of hiders and analyzers.

    Example:
        >>> from privmed.testing import checks_for
        >>> [check.__name__ for check in checks_for("metric")][:2]
        ['check_metric_gives_a_number_an_item', 'check_metric_says_what_it_is']
    """
    shared = ["common", "settings"] if kind in (*METHODS, FILES, BARE) else ["settings"] if kind != "command" else []
    modules = [import_module(f"privmed.testing.{name}_checks") for name in (*shared, kind)]
    found = [f for module in modules for name, f in vars(module).items() if name.startswith("check_")]
    return sorted(found, key=lambda f: f.__name__)


def parametrize_with_checks(
    target: str | Any | Callable[[], Any], expected_failures: Mapping[str, str] | None = None, **settings: Any
) -> Callable:
    """Run a test once for every check of a kind.

    Args:
        target: ``"kind:name"`` (a method is made with random weights), a method or part, or a function that makes one.
        expected_failures: name of a check to the reason why it cannot hold; by default what the class says in ``expected_failures``. A
            check that is expected to fail and passes is a failure: the list stays honest.
        settings: when ``target`` is a name; beside those of ``check_settings`` of the class.

    Returns:
        A decorator for a test function of two arguments, the method or part and the check.

    Raises:
        SettingsError: when an expected failure names no check.

    Example:
        >>> from privmed.testing import parametrize_with_checks
        >>> @parametrize_with_checks("hider:lightih", expected_failures={})
        ... def test_conforms(method, check):  # pytest runs it once for each check
        ...     check(method)
    """
    import pytest

    kind, make = maker(target, settings)
    checks = checks_for(kind)
    expected = expected_of(target) if expected_failures is None else dict(expected_failures)
    check_expected(expected, checks)

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


def check_expected(expected: Mapping[str, str], checks: list[Check]) -> None:
    """Refuse a list of expected failures that names what is no check.

    Raises:
        SettingsError: when it does.
    """
    unknown = sorted(expected.keys() - {c.__name__ for c in checks})
    if unknown:
        raise SettingsError(
            f"expected_failures: no check {unknown[0]!r}; there are {', '.join(c.__name__ for c in checks)}."
        )


def expected_of(target: Any) -> dict[str, str]:
    """The failures that the class of a target of :func:`parametrize_with_checks` itself expects."""
    if isinstance(target, str):
        kind, _, name = target.partition(":")
        target = registry.load(kind, name)
    return dict(getattr(target, "expected_failures", {}))


def maker(target: Any, settings: Mapping[str, Any] | None = None) -> tuple[str, Callable[[], Any]]:
    """Whose checks a target of :func:`parametrize_with_checks` has to pass, and what makes it."""
    if isinstance(target, str):
        kind, _, name = target.partition(":")
        make = functools.partial(_make, kind, name, dict(settings or {}))
        return (contract_of(registry.load(kind, name)) if kind in METHODS else kind), make
    if hasattr(target, "kind") and not isinstance(target, type):
        return contract_of(target), lambda: target
    return contract_of(target()), target


def contract_of(method: Any) -> str:
    """Whose checks a method or part, or its class, has to pass: its kind's, or those of another contract of that kind.

    Example:
        >>> from privmed import registry
        >>> from privmed.testing.kit import contract_of
        >>> [contract_of(registry.load("hider", name)) for name in ("lightih", "lsbm")]
        ['hider', 'file_hider']
    """
    cls = method if isinstance(method, type) else type(method)
    return FILES if issubclass(cls, FileHider) else BARE if issubclass(cls, BareAnalyzer) else method.kind


def _make(kind: str, name: str, settings: dict[str, Any]) -> Any:
    cls = registry.load(kind, name)
    if kind == "command":
        return cls
    chosen = {**cls.check_settings, **settings}
    if kind in METHODS:
        return with_key(registry.create(kind, name, None, None, **chosen))
    config = structure(cls.Config, chosen, name)
    return cls(config, None) if kind == "suite" else cls(config)
