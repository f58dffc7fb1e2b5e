"""Examples of docstrings run, each by itself; every public name has one, and a release that it came with."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import privmed

from .test_public_surface import public_surface

UNRUN = ("privmed.evaluation",)
"""A former home of other modules, which warns when it is imported."""


def examples():
    """The docstrings with examples, by name; each starts with no names at all, as a user does who copies it."""
    names = ["privmed", *(m.name for m in pkgutil.walk_packages(privmed.__path__, "privmed."))]
    wanted = [n for n in names if not n.endswith("__main__") and not n.startswith(UNRUN)]
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [t for n in wanted for t in finder.find(importlib.import_module(n), n, globs={}) if t.examples]
    return {t.name: t for t in found}


FOUND = examples()


@pytest.mark.parametrize("name", FOUND)
def test_an_example_runs_by_itself(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(FOUND[name], out=said.append)
    assert not said, "".join(said)


def without_example(modules=public_surface.MODULES):
    """Public classes and functions that show no use, and what to do; values such as ``KINDS`` have no docstring of their own."""
    out = []
    for module in map(importlib.import_module, modules):
        for name in public_surface.names(module):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            if f"{thing.__module__}.{thing.__qualname__}" not in FOUND:
                out.append(
                    f"{module.__name__}.{name} has no example: end its docstring with a section Example: of two to five lines after >>> "
                    "that a user would type. It runs in an empty folder and imports what it uses."
                )
    return out


def test_every_public_name_has_an_example():
    said = without_example()
    assert not said, "\n".join(said)


def test_a_public_name_without_example_is_told(monkeypatch):
    monkeypatch.delitem(FOUND, "privmed.registry.hider")
    (said,) = without_example(["privmed"])
    assert said.startswith("privmed.hider has no example: end its docstring")
