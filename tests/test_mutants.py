"""The tables of deliberate mistakes fit the source; whether a test notices each of them, ``make mutants`` says."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("mutants", Path(__file__).with_name("mutants.py"))
mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutants)
HOME = {package.name: package for package in mutants.PACKAGES}


@pytest.mark.parametrize("mutant", mutants.read_tables(), ids=lambda m: m.name)
def test_every_mistake_can_be_made_and_some_test_is_named(mutant):
    package, _, inner = mutant.file.partition("/")
    assert (HOME[package] / inner).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.new != mutant.old
    for test in mutant.tests:
        path, *names = test.split("::")
        text = (mutants.ROOT / path).read_text(encoding="utf-8")
        *classes, function = names or [None]
        assert function is None or f"def {function.partition('[')[0]}(" in text
        assert all(f"class {name}:" in text for name in classes)


@pytest.mark.parametrize("text", ["a = 1\n", "a = 2\nb = 2\n", None])
def test_a_stale_entry_is_told(tmp_path, text):
    if text is not None:
        (tmp_path / "m.py").write_text(text)
    with pytest.raises(mutants.StaleError, match=r"m\.py: the text of 'two' occurs [02] times"):
        mutants.Mutant("two", "m.py", "= 2", "= 3", ()).apply(tmp_path)


@pytest.mark.parametrize(("text", "numbers"), [("1/1", (1, 1)), ("2/3", (2, 3))])
def test_a_part_of_them(text, numbers):
    assert mutants.part(text) == numbers


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "/", "-1/2"])
def test_no_part_of_them(text):
    with pytest.raises(mutants.argparse.ArgumentTypeError, match="is not K/N"):
        mutants.part(text)
