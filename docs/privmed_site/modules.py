"""The reference of the Python API: a page for each module, so that every name in a docstring leads somewhere."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import privmed
from privmed_site.pages import Pages

HIDDEN = ("privmed.cli", "privmed.__main__", "privmed.evaluation")
"""The command line is documented by its parser; the last one is a former home of other modules."""
SURFACE = Path(__file__).parents[2] / "tests" / "public_surface.py"


@functools.cache
def surface() -> Any:
    """The repository's list of public names (``tests/public_surface.py``), which is no part of what is installed."""
    spec = importlib.util.spec_from_file_location("public_surface", SURFACE)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


FACE: tuple[str, ...] = surface().MODULES
"""Modules whose names are the face of the library."""


def modules() -> list[ModuleType]:
    """All modules of the library that can be imported, the package first."""
    names = ["privmed", *(m.name for m in pkgutil.walk_packages(privmed.__path__, "privmed."))]
    wanted = [n for n in names if not any(n == h or n.startswith(h + ".") for h in HIDDEN)]
    return [importlib.import_module(name) for name in wanted]


@functools.cache
def since() -> dict[str, str]:
    """The release that brought each public name, under the name by which it is documented.

    What came with its class is not said again.
    """
    told: dict[str, str] = {}
    releases = surface().since()
    for path, release in releases.items():
        module, names = split(path)
        thing = getattr(module, names[0])
        top = f"{thing.__module__}.{thing.__qualname__}" if documented(thing) else f"{module.__name__}.{names[0]}"
        if len(names) == 1:
            told.setdefault(top, release)
        elif release != releases[f"{module.__name__}.{names[0]}"]:
            told[".".join([top, *names[1:]])] = release
    return told


def split(path: str) -> tuple[ModuleType, list[str]]:
    """The module of a public name, and what comes after it."""
    name = max((m for m in FACE if path.startswith(f"{m}.")), key=len)
    return importlib.import_module(name), path.removeprefix(f"{name}.").split(".")


def documented(thing: Any) -> bool:
    """Whether a thing has a docstring of its own, which the reference shows."""
    return inspect.isclass(thing) or inspect.isfunction(thing)


def say_since(_app: Any, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Below each public name stands the release that brought it."""
    if release := since().get(name):
        lines += ["", f".. versionadded:: {release}", ""]


def public(module: ModuleType) -> list[dict[str, str]]:
    """The names of a module that users import, where each is documented, and since when it is there."""
    out, releases = [], surface().since()
    for name in surface().names(module):
        thing = getattr(module, name)
        about = (inspect.getdoc(thing) or "").splitlines()[0] if documented(thing) else ""
        target = f"{thing.__module__}.{thing.__qualname__}" if documented(thing) else ""
        out.append(
            {"name": name, "target": target, "about": about, "since": releases.get(f"{module.__name__}.{name}", "")}
        )
    return out


def undocumented() -> list[str]:
    """Public names, and public methods of public classes, that have no docstring of their own or inherited."""
    out = []
    for face in FACE:
        module = importlib.import_module(face)
        for name in surface().names(module):
            thing = getattr(module, name)
            if not documented(thing):
                continue
            mine = {n: getattr(thing, n) for n, f in vars(thing).items() if not n.startswith("_") and _described(f)}
            out += [f"{face}.{name}"] if not inspect.getdoc(thing) else []
            out += [f"{face}.{name}.{n}" for n, f in mine.items() if not inspect.getdoc(f)]
    return out


def _described(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))


def hooks(module: ModuleType) -> list[str]:
    """Private methods that the docstrings of a module's classes tell plugins to write: they are documented like public ones."""
    texts = [
        cls.__doc__ or "" for cls in vars(module).values() if inspect.isclass(cls) and cls.__module__ == module.__name__
    ]
    return sorted({name for text in texts for name in re.findall(r":meth:`(_\w+)`", text)})


def keep_colons(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """What stands before a colon in the first line of a property's docstring is no type, though napoleon takes it for one."""
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ", 1)


def keep_hook(_app: Any, _what: str, _name: str, member: Any, _skip: bool, _options: Any) -> bool | None:
    """The hook is documented where it is specified; implementations, one in each module of methods, are left out."""
    return False if member is privmed.hooks.privmed_register else None


def home(name: str) -> str:
    """Where a name of the library's face is documented; other names as they are."""
    face, _, last = name.rpartition(".")
    if face in FACE and last in surface().names(module := importlib.import_module(face)):
        thing = getattr(module, last)
        return f"{thing.__module__}.{thing.__qualname__}" if documented(thing) else name
    return name


def find_by_ending(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference by the end of a name (``Hider.hide``), where one documented thing alone has it."""
    if node.get("refdomain") != "py":
        return None
    target = home(node["reftarget"])
    found = env.domains["py"].find_obj(env, None, None, target, None, 1)
    if len(found) != 1:
        return None
    name, thing = found[0]
    from sphinx.util.nodes import make_refnode

    return make_refnode(app.builder, node["refdoc"], thing.docname, thing.node_id, contnode, name)


def write(pages: Pages) -> None:
    """A page for each module, the list of them, and the list of public names."""
    found = modules()
    for module in found:
        pages.write(f"reference/api/{module.__name__}.md", "module.md", module=module.__name__, hooks=hooks(module))
    faces = [{"module": name, "names": public(importlib.import_module(name))} for name in FACE]
    abouts = {m.__name__: (m.__doc__ or "").strip().splitlines()[0] if m.__doc__ else "" for m in found}
    pages.write("reference/api/index.md", "modules.md", faces=faces, modules=abouts)
