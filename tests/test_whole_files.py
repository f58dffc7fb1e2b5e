"""Outputs appear whole or not at all, and nobody else's files are touched."""

import errno

import pytest

from privmed.errors import OutputError
from privmed.files import check_folder, check_writable, make_folder, sweep, whole_file, writing


def test_temporary_files_are_short_hidden_and_ours(tmp_path):
    name = "x" * 250  # nothing may be put before or behind it
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("a")
        assert temporary.name.startswith(".")
        killed = temporary.name
    assert [p.name for p in tmp_path.iterdir()] == [name]
    for left in (killed, f"my{killed}", ".notes.part", ".part", "a.privmed-part", ".0123.privmed-part"):
        (tmp_path / left).write_text("b")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [name, f"my{killed}", ".notes.part", ".part", "a.privmed-part", ".0123.privmed-part"]
    )


def test_a_full_disk_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"x: cannot be written \(No space left"), writing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["x" * 300, "file/inside", "file"])
def test_what_cannot_be_is_said_before_it_is_made(tmp_path, name):
    (tmp_path / "file").write_text("a")
    for check in (check_folder, make_folder, check_writable):
        with pytest.raises(OutputError, match=name):
            check(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_link_that_leads_nowhere_is_not_overwritten(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        check_writable(tmp_path / "link")
