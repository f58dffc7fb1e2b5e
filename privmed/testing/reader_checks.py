"""Checks of data-set readers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from privmed.bench.contracts import Reader
from privmed.errors import InputError


def check_what_is_not_there_is_told(reader: Reader) -> None:
    """A path where nothing is, and an empty folder, are an InputError whose sentence names them."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "empty").mkdir()
        for path in (Path(folder) / "gone", Path(folder) / "empty"):
            try:
                reader.read(path)
            except InputError as error:
                assert str(path) in str(error), f"the message does not name {path.name}: {error}"
                continue
            raise AssertionError(f"a data set that is {path.name} was read")


def check_other_data_is_not_recognised(reader: Reader) -> None:
    """recognises() says no, and raises nothing, where there is nothing; it is asked about every data set that comes along."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notes.txt").write_text("no data set", encoding="utf-8")
        for path in (Path(folder) / "gone", Path(folder) / "notes.txt"):
            assert type(reader).recognises(path) is False, f"{path.name} was recognised"
