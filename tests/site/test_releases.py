"""Every public name of every module says which release brought it."""

import importlib

import pytest
from privmed_site import modules


@pytest.mark.parametrize("face", modules.FACE)
def test_every_public_name_says_since_when(face):
    rows = modules.public(importlib.import_module(face))
    assert rows
    assert [row["name"] for row in rows if not row["since"]] == []
    assert [row["name"] for row in rows if row["target"] and row["target"] not in modules.since()] == []


def test_a_release_stands_where_a_name_is_documented():
    lines = ["Create a hider."]
    modules.say_since(None, "function", "privmed.registry.hider", None, None, lines)
    assert lines == ["Create a hider.", "", ".. versionadded:: 0.2", ""]
    inner = ["Not public."]
    modules.say_since(None, "function", "privmed.registry.load", None, None, inner)
    assert inner == ["Not public."]


def test_a_method_says_it_only_where_its_class_is_older(monkeypatch):
    releases = {"privmed.Hider": "0.2", "privmed.Hider.hide": "0.2", "privmed.Hider.recover": "0.3"}
    monkeypatch.setattr(modules.surface(), "since", lambda: releases)
    home = "privmed.interfaces.hider.Hider"
    assert modules.since.__wrapped__() == {home: "0.2", f"{home}.recover": "0.3"}
