"""The reference of the Python API: nothing public is undescribed, and its examples run."""

import doctest
import importlib

import pytest
from privmed_site import modules


def test_every_public_name_has_a_docstring():
    assert modules.undocumented() == []


def with_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [t for m in modules.modules() for t in finder.find(m, m.__name__) if t.examples]
    return {t.name: t for t in found}


@pytest.fixture(scope="module")
def examples():
    return with_examples()


def test_examples_of_docstrings_run(examples):
    assert {"privmed.registry.available", "privmed.pipeline.stage.Pipeline"} <= examples.keys()
    said = []
    for example in examples.values():
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_what_classes_ask_plugins_to_write_is_documented():
    hooks = modules.hooks(importlib.import_module("privmed.interfaces.hider"))
    assert {"_hide", "_recover"} <= set(hooks)


def test_names_of_the_face_lead_home():
    assert modules.home("privmed.Hider") == "privmed.interfaces.hider.Hider"
    assert modules.home("privmed.interfaces.hider.Hider") == "privmed.interfaces.hider.Hider"
    assert modules.home("Hider.hide") == "Hider.hide"
