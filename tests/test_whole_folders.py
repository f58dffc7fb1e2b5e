"""Folders that appear whole or not at all."""

import pytest

from privmed.errors import OutputError
from privmed.files import whole_folder


def test_a_folder_appears_whole_with_its_parents(tmp_path):
    with whole_folder(tmp_path / "a/b/out") as folder:
        (folder / "x.txt").write_text("x")
        assert not (tmp_path / "a/b/out").exists()
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["out"]
    assert (tmp_path / "a/b/out/x.txt").read_text() == "x"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), RecursionError])
def test_whatever_fails_nothing_is_left_not_even_parents(tmp_path, failure):
    expected = OutputError if isinstance(failure, OSError) else failure
    with pytest.raises(expected) as caught, whole_folder(tmp_path / "a/b/out") as folder:
        (folder / "x.txt").write_text("x")
        raise failure
    assert list(tmp_path.iterdir()) == []
    if expected is OutputError:
        assert str(caught.value) == f"{tmp_path}/a/b/out: cannot be written (No space left on device)."


def test_a_folder_that_is_there_keeps_what_is_in_it(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt), whole_folder(out, overwrite=True) as folder:
        (folder / "mine.txt").write_text("theirs")
        raise KeyboardInterrupt
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("mine.txt", "mine")]
    with pytest.raises(OutputError, match=r"mine\.txt: exists already"), whole_folder(out) as folder:
        (folder / "a.txt").write_text("a")
        (folder / "mine.txt").write_text("theirs")
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    with whole_folder(out, overwrite=True) as folder:
        assert folder.parent == out  # the folder above may be read-only
        (folder / "mine.txt").write_text("theirs")
        (folder / "new.txt").write_text("new")
    assert sorted((p.name, p.read_text()) for p in out.iterdir()) == [("mine.txt", "theirs"), ("new.txt", "new")]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_errors_speak_of_the_folder_that_was_asked_for(tmp_path):
    with pytest.raises(OutputError) as caught, whole_folder(tmp_path / "out") as folder:
        raise OutputError(f"{folder / 'stego.png'}: cannot be written (No space left on device).")
    assert str(caught.value) == f"{tmp_path}/out/stego.png: cannot be written (No space left on device)."


def test_a_file_in_the_way_and_a_name_too_long_are_told(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"), whole_folder(tmp_path / "out"):
        pass
    with pytest.raises(OutputError, match="out is a file"), whole_folder(tmp_path / "out/deeper"):
        pass
    with pytest.raises(OutputError, match="cannot be written"), whole_folder(tmp_path / "new" / ("x" * 300)):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
