"""What users and plugins rely on stays, or goes with a warning of one release."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import privmed

SPEC = importlib.util.spec_from_file_location("public_surface", Path(__file__).with_name("public_surface.py"))
public_surface = importlib.util.module_from_spec(SPEC)
sys.modules["public_surface"] = public_surface
SPEC.loader.exec_module(public_surface)


def test_the_public_surface_is_as_it_is_held():
    said = public_surface.advice(public_surface.read(), public_surface.surface())
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, "a.b(x) has gone. Keep it for one release"),
        ({"a.b": "(x, y)"}, "a.b(x) has become a.b(x, y). Keep old calls working"),
        ({"a.b": "(x)", "a.c": "()"}, "a.c() is new"),
    ],
)
def test_a_difference_says_what_to_do(now, words):
    first, last = public_surface.advice({"a.b": "(x)"}, now)
    assert first.startswith(words)
    assert last == "Then: python tests/public_surface.py --write"


def test_signatures_methods_and_hooks_are_held():
    held = public_surface.surface()
    assert held["privmed.hider"].startswith("(name: str, weights: Any = bundled")
    assert held["privmed.Hider.hide"].startswith("(self, secret")
    assert "privmed.Hider._hide" in held
    assert held["privmed.interfaces.Hider"] == " is privmed.Hider"
    assert "privmed.bench.contracts.Exploiter.network" in held
    assert "privmed.Hider.train" not in held  # torch's, not ours


def test_a_name_keeps_the_release_that_brought_it(tmp_path, monkeypatch):
    held = tmp_path / "held.txt"
    monkeypatch.setattr(public_surface, "surface", lambda: {"a.b": "(x)", "a.c": ": type"})
    held.write_text("# head\n0.1 a.b(old)\n0.1 a.gone()\n")
    public_surface.write(held)
    assert public_surface.read(held) == {"a.b": "(x)", "a.c": ": type"}
    assert public_surface.since(held)["a.b"] == "0.1"
    assert public_surface.since(held)["a.c"] != "0.1"


@pytest.mark.parametrize(
    ("changes", "release"),
    [
        ("# Changes\n\n## Unreleased\n\n## 0.2.0\n- words\n", "0.2"),  # 0.2.0 is being prepared
        ("# Changes\n\n## Unreleased\n\n### Added\n- words\n\n## 0.2.0\n- words\n", "0.3"),
        ("# Changes\n\n## Unreleased\n- words\n", "0.3"),
        ("# Changes\n\n## 0.2.0\n- words\n", "0.2"),
    ],
)
def test_what_is_unreleased_comes_with_the_next_release(changes, release):
    assert public_surface.coming("0.2.0", changes) == release


def test_releases_are_those_of_the_changelog():
    changes = public_surface.CHANGES.read_text(encoding="utf-8")
    known = {".".join(v.split(".")[:2]) for v in re.findall(r"^## (\d\S*)", changes, re.MULTILINE)}
    told = public_surface.since()
    assert told.keys() == public_surface.read().keys()
    assert set(told.values()) <= known | {public_surface.coming(privmed.__version__, changes)}
