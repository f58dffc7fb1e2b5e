"""The reference of the Python API: nothing public is undescribed (tests/test_examples.py runs its examples)."""

import importlib

from privmed_site import modules


def test_every_public_name_has_a_docstring():
    assert modules.undocumented() == []


def test_what_classes_ask_plugins_to_write_is_documented():
    hooks = modules.hooks(importlib.import_module("privmed.interfaces.hider"))
    assert {"_hide", "_recover"} <= set(hooks)


def test_names_of_the_face_lead_home():
    assert modules.home("privmed.Hider") == "privmed.interfaces.hider.Hider"
    assert modules.home("privmed.interfaces.hider.Hider") == "privmed.interfaces.hider.Hider"
    assert modules.home("Hider.hide") == "Hider.hide"
