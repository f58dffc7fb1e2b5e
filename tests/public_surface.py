"""Names and signatures that users and plugins may rely on, one a line: ``python tests/public_surface.py --write``."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HELD = Path(__file__).with_suffix(".txt")
CHANGES = Path(__file__).parents[1] / "CHANGELOG.md"
MODULES = (
    "privmed",
    "privmed.interfaces",
    "privmed.interfaces.abilities",
    "privmed.interfaces.search",
    "privmed.pipeline",
    "privmed.imaging",
    "privmed.imaging.overlay",
    "privmed.testing",
    "privmed.bench.contracts",
    "privmed.client",
    "privmed.settings",
    "privmed.errors",
    "privmed.hooks",
    "privmed.weights",
)
"""Their ``__all__``; of a module without one, what it defines under a name without underscore."""


def surface(modules: tuple[str, ...] = MODULES) -> dict[str, str]:
    """What each public name is: a signature, or the sort of thing."""
    found: dict[str, str] = {}
    homes: dict[int, str] = {}
    for module in map(importlib.import_module, modules):
        for name in names(module):
            thing, path = getattr(module, name), f"{module.__name__}.{name}"
            described = inspect.isclass(thing) or callable(thing)
            if described and id(thing) in homes:
                found[path] = f" is {homes[id(thing)]}"
                continue
            homes[id(thing)] = path
            found[path] = signature(thing) if described and ours(thing) else f": {type(thing).__name__}"
            if inspect.isclass(thing):
                found |= {f"{path}.{member}": what for member, what in members(thing)}
    return found


def names(module: Any) -> list[str]:
    """The public names of a module."""
    if listed := getattr(module, "__all__", None):
        return sorted(listed)
    return sorted(
        n
        for n, t in vars(module).items()
        if not n.startswith("_") and getattr(t, "__module__", None) == module.__name__
    )


def members(cls: type) -> Iterator[tuple[str, str]]:
    """Public attributes and methods of a class that privmed defines, in it or in its bases."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("privmed")]
    hooks = set(re.findall(r":meth:`(_\w+)`", cls.__doc__ or ""))  # what a class tells plugins to write
    for name in sorted({n for base in own for n in (*vars(base), *vars(base).get("__annotations__", {}))}):
        thing = inspect.getattr_static(cls, name, None)
        if (
            name.startswith("_")
            and name not in hooks
            and (name.startswith("__") or not getattr(thing, "__isabstractmethod__", False))
        ):
            continue
        if isinstance(thing, (classmethod, staticmethod)):
            yield name, signature(thing.__func__)
        elif inspect.isfunction(thing):
            yield name, signature(thing)
        else:
            yield name, ": property" if isinstance(thing, property) else ": attribute"


def ours(thing: Any) -> bool:
    """Whether privmed defines how it is called; errors and protocols are not called."""
    uncalled = inspect.isclass(thing) and (issubclass(thing, Exception) or getattr(thing, "_is_protocol", False))
    return getattr(thing, "__module__", "").startswith("privmed") and not uncalled


def signature(thing: Any) -> str:
    """How a thing is called, annotations included; without the quotes and addresses that differ from run to run."""
    text = re.sub(r"ForwardRef\(('.*?')\)", r"\1", str(inspect.signature(thing)))
    return re.sub(r" at 0x[0-9a-f]+", "", text).replace("'", "")


LINE = re.compile(r"(\d+\.\d+) ([\w.]+)(.*)")


def read(path: Path = HELD) -> dict[str, str]:
    """The surface as a file holds it."""
    return {name: what for _, name, what in _lines(path)}


def since(path: Path = HELD) -> dict[str, str]:
    """The release that brought each name."""
    return {name: release for release, name, _ in _lines(path)}


def _lines(path: Path) -> list[tuple[str, ...]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [LINE.fullmatch(line).groups() for line in lines if not line.startswith("#")]  # type: ignore[union-attr]


def advice(held: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs, and what to do about it."""
    out = []
    for name, was in held.items():
        if name not in now:
            out.append(
                f"{name}{was} has gone. Keep it for one release: let it work, with a DeprecationWarning that names its successor and says "
                f"that it leaves with the next minor release; write it into CHANGELOG.md."
            )
        elif now[name] != was:
            out.append(
                f"{name}{was} has become {name}{now[name]}. Keep old calls working for one release, with a DeprecationWarning; write it "
                f"into CHANGELOG.md."
            )
    out += [f"{name}{what} is new: write it into CHANGELOG.md." for name, what in now.items() if name not in held]
    return [*out, "Then: python tests/public_surface.py --write"] if out else []


def coming(version: str, changes: str) -> str:
    """The release that brings what is new: the present version, or the next minor one once CHANGELOG.md has entries that are unreleased."""
    unreleased = re.search(r"^## Unreleased$(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL)
    major, minor = map(int, version.split(".")[:2])
    return f"{major}.{minor + bool(unreleased and unreleased[1].strip())}"


def write(path: Path = HELD) -> None:
    """Hold the surface as it is now; names that are new belong to the release that is coming."""
    from privmed import __version__

    now, known = coming(__version__, CHANGES.read_text(encoding="utf-8")), since(path)
    lines = [f"{known.get(name, now)} {name}{what}\n" for name, what in surface().items()]
    head = "# What users and plugins may rely on, and since when. Written by: python tests/public_surface.py --write\n"
    path.write_text(head + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print("\n".join(f"{name}{what}" for name, what in surface().items()))
