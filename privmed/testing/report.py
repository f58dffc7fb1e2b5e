"""The conformance kit without pytest: what passes, what does not and why, and what would mend it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from privmed import registry
from privmed.errors import MethodNotFoundError, PrivmedError, did_you_mean
from privmed.hooks import GROUPS
from privmed.registry import PluginInfo
from privmed.testing.kit import Check, check_expected, checks_for, expected_of, maker

PASSED, FAILED, EXPECTED = "passed", "failed", "expected failure"
Progress = Callable[[int, int, str], None]


@frozen(kw_only=True)
class Result:
    """What came out of one check of one method or part."""

    target: str
    check: str
    status: str
    reason: str = ""
    mend: str = ""


def chosen(name: str | None = None) -> list[PluginInfo]:
    """What is installed under a name: ``kind:name``, a name, or a distribution's; without one all that plugins bring.

    Raises:
        MethodNotFoundError: when there is none.
    """
    if name is None:
        return registry.installed()
    rows = [row for kind in GROUPS for row in registry.plugins(kind)]
    found = [r for r in rows if name in (f"{r.kind}:{r.name}", r.name, r.distribution)]
    if not found:
        known = sorted({n for r in rows for n in (f"{r.kind}:{r.name}", r.name, r.distribution)})
        raise MethodNotFoundError(f"nothing installed is called {name!r}.{did_you_mean(name, known)}")
    return found


def examine(rows: list[PluginInfo], progress: Progress = lambda *_: None) -> Iterator[Result]:
    """Run all checks of each row; one that does not load has failed in that."""
    for n, row in enumerate(rows):
        target = f"{row.kind}:{row.name}"
        try:
            if row.status == "broken":
                raise PrivmedError(row.reason)
            kind, make = maker(target)
            checks, expected = checks_for(kind), expected_of(target)
            check_expected(expected, checks)
        except PrivmedError as error:
            yield Result(target=target, check="loads", status=FAILED, reason=str(error), mend="see the reason")
            continue
        for check in checks:
            progress(n, len(rows), f"{target} {check.__name__}")
            yield _result(target, make, check, expected.get(check.__name__))


def _result(target: str, make: Callable, check: Check, expected: str | None) -> Result:
    about = {"target": target, "check": check.__name__.removeprefix("check_")}
    try:
        check(make())
    except Exception as error:  # a method can fail in any way
        if expected is not None:
            return Result(**about, status=EXPECTED, reason=expected)
        return Result(**about, status=FAILED, reason=_reason(error), mend=_mend(check, error))
    if expected is None:
        return Result(**about, status=PASSED)
    return Result(
        **about, status=FAILED, reason="it was expected to fail, but passes", mend="take it off expected_failures"
    )


def _reason(error: Exception) -> str:
    """What an error says; of a bare assertion the line that failed."""
    text = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, AssertionError):
        return text or f"does not hold: {traceback.extract_tb(error.__traceback__)[-1].line}"
    return f"{type(error).__name__}: {text}"


def _mend(check: Check, error: Exception) -> str:
    """What has to hold, and where to look: in the plugin, if the error comes from it, else in the check."""
    core = Path(registry.__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not Path(f.filename).is_relative_to(core) and "site-packages/torch" not in f.filename]
    place = (own or [f for f in frames if "/testing/" in f.filename] or frames)[-1]
    promise = next(iter((check.__doc__ or check.__name__).splitlines()))
    return f"{promise} See {place.filename}:{place.lineno}."
