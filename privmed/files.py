"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privmed.errors import OutputError


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; on success it becomes ``path``, on any failure it vanishes.

    Raises:
        OutputError: when ``path`` exists already, or cannot be written.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite)
    temporary = path.with_name(f".{os.getpid()}-{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path, *, overwrite: bool = False, force: bool = True) -> None:
    """Say early, before any work, why ``path`` cannot be written.

    Raises:
        OutputError: when it exists (and ``overwrite`` is off), is a folder, or its folder is missing or read-only.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, expected a file name.")
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path}: exists already. Choose another name{', or allow it with --force' if force else ''}."
        )
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is read-only.")


def make_folder(path: Path) -> Path:
    """Make an output folder, or say why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error}).") from error
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path}: the folder is read-only.")
    return path
