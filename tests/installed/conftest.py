"""The wheels, installed by pip into clean environments outside the repository, as a user gets them.

Packages of third parties are not downloaded again: those that the wheels ask for, and no others, are links to the ones that run the tests.
"""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from environment import ROOT, TARGETS, Environment, build, links, ours, third_parties  # noqa: E402


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.fspath).parent == HERE:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The folder that ``make dist`` fills; without it the distributions are built here."""
    pytest.importorskip("build", reason="needs build: make dist")
    if given := os.environ.get("PRIVMED_DIST"):
        return (ROOT / given).resolve()
    out = tmp_path_factory.mktemp("dist")
    for target in TARGETS:
        build(target, out)
    return out


@pytest.fixture(scope="session")
def third(wheels, tmp_path_factory):
    """Everything that ``privmed[all]`` needs of others."""
    return links(third_parties("privmed", {"all"}, ours(wheels)), tmp_path_factory.mktemp("third") / "all")


@pytest.fixture(scope="session")
def everything(wheels, third, tmp_path_factory):
    """An environment after ``pip install privmed[all]``."""
    made = Environment(tmp_path_factory.mktemp("everything") / "env", third)
    made.pip("install", "--find-links", wheels, "privmed[all]")
    return made


@pytest.fixture(scope="session")
def core(wheels, tmp_path_factory):
    """An environment after ``pip install privmed``: no plugins, no extras."""
    folder = tmp_path_factory.mktemp("core")
    made = Environment(folder / "env", links(third_parties("privmed", set(), ours(wheels)), folder / "third"))
    made.pip("install", "--find-links", wheels, "privmed")
    return made
