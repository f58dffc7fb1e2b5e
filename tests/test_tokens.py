"""Tokens come from files and the environment, and only whole ones open."""

import pytest

from privmed.errors import KeyFileError
from privmed.tokens import Gate, tokens

GOOD, OTHER = "correct-horse-battery", "0123456789abcdef"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("PRIVMED_TOKEN", raising=False)

    def write(content):
        path = tmp_path / "tokens"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_a_file_holds_one_a_line(file):
    assert tokens(file(f"# ours\n{GOOD}\n\n  {OTHER}  # of the other ward\r\n")) == [GOOD, OTHER]


def test_the_environment_holds_one_and_a_file_comes_first(file, monkeypatch):
    assert tokens(None) == []
    monkeypatch.setenv("PRIVMED_TOKEN", f" {GOOD}\n")
    assert tokens(None) == [GOOD]
    assert tokens(file(OTHER)) == [OTHER]


@pytest.mark.parametrize("content", ["", "# nothing\n", "short", "two words are no token", "ümlaut-" * 4, b"\xff" * 20])
def test_a_bad_file_is_refused_without_showing_what_it_holds(file, content):
    with pytest.raises(KeyFileError, match="token") as caught:
        tokens(file(content))
    assert "two words" not in str(caught.value)


def test_an_empty_variable_is_no_open_door(monkeypatch):
    monkeypatch.setenv("PRIVMED_TOKEN", "")
    with pytest.raises(KeyFileError, match="PRIVMED_TOKEN"):
        tokens(None)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(KeyFileError, match="token file"):
            tokens(path)


@pytest.mark.parametrize("header", [f"Bearer {GOOD}", f"bearer {OTHER}", f"Bearer  {GOOD} "])
def test_the_gate_opens(header):
    assert Gate([GOOD, OTHER]).admits(header)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", GOOD, f"Basic {GOOD}", f"Bearer {GOOD}x", f"Bearer {GOOD[:-1]}", "Bearer \udcff"],
)
def test_the_gate_stays_shut(header):
    assert not Gate([GOOD, OTHER]).admits(header)
    assert Gate([]).admits(header)
