"""The reference of the Python API: a page for each module, so that every name in a docstring leads somewhere."""

from __future__ import annotations

import importlib
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
SURFACE = Path(__file__).parents[2] / "tests" / "public_surface.txt"
FACE = ("privmed", "privmed.pipeline", "privmed.imaging", "privmed.testing")
"""Modules whose ``__all__`` is the face of the library."""


def modules() -> list[ModuleType]:
    """All modules of the library that can be imported, the package first."""
    names = ["privmed", *(m.name for m in pkgutil.walk_packages(privmed.__path__, "privmed."))]
    wanted = [n for n in names if not any(n == h or n.startswith(h + ".") for h in HIDDEN)]
    return [importlib.import_module(name) for name in wanted]


def since() -> dict[str, str]:
    """The release that brought each public name, as the repository's tests hold it."""
    lines = SURFACE.read_text(encoding="utf-8").splitlines()
    return {name: release for release, name in re.findall(r"^(\d+\.\d+) ([\w.]+)", "\n".join(lines), re.MULTILINE)}


def public(module: ModuleType) -> list[dict[str, str]]:
    """The names of a module that users import, where each is documented, and since when it is there."""
    out, releases = [], since()
    for name in module.__all__:
        thing = getattr(module, name)
        home = getattr(thing, "__module__", module.__name__)
        documented = inspect.isclass(thing) or inspect.isfunction(thing)
        about = (inspect.getdoc(thing) or "").splitlines()[0] if documented else ""
        target = f"{home}.{thing.__qualname__}" if documented else ""
        out.append(
            {"name": name, "target": target, "about": about, "since": releases.get(f"{module.__name__}.{name}", "")}
        )
    return out


def undocumented() -> list[str]:
    """Public names, and public methods of public classes, that have no docstring of their own or inherited."""
    out = []
    for face in FACE:
        module = importlib.import_module(face)
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
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


def home(name: str) -> str:
    """Where a name of the library's face is documented; other names as they are."""
    face, _, last = name.rpartition(".")
    if face in FACE and last in (module := importlib.import_module(face)).__all__:
        thing = getattr(module, last)
        return f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else name
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
