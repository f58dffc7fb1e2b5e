"""Files and folders that appear whole or not at all, and names from files, which stay in their folder."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from privmed.errors import InputError, OutputError

LONGEST = 255  # bytes of one part of a name; what common file systems take


def plain(name: object) -> str:
    """A name as some file says it, in its shortest form, if it means something inside a folder on every system.

    Raises:
        ValueError: what is wrong with it; the sentence goes on behind the name.
    """
    if not isinstance(name, str) or not name:
        raise ValueError("is empty")
    if "\0" in name:
        raise ValueError("holds a NUL character")
    parts = PurePosixPath(name).parts
    for flavour in (PurePosixPath, PureWindowsPath):
        if flavour(name).anchor:
            raise ValueError("is absolute")
        if ".." in flavour(name).parts:
            raise ValueError("leads upwards")
    if not parts:
        raise ValueError("names no file")
    try:
        if max(len(os.fsencode(part)) for part in parts) > LONGEST:
            raise ValueError("is too long")
    except UnicodeEncodeError as error:
        raise ValueError("cannot be the name of a file here") from error
    return "/".join(parts)


def local_name(name: object, where: object) -> str:
    """As :func:`plain`, for names in a file ``where``.

    Raises:
        InputError: when the name could mean something outside a folder.
    """
    try:
        return plain(name)
    except ValueError as error:
        raise InputError(
            f"{where}: the name {name!r} {error}. Names in it must stay inside their folder, such as benign/scan.png."
        ) from error


def inside(folder: str | os.PathLike[str], name: object, where: object = None) -> Path:
    """The place that a name out of a file stands for inside a folder; every such name becomes a path here.

    The folder itself may be a link; a link inside it may not lead out of it.

    Args:
        folder: where it has to stay.
        name: what a table, manifest, key or card says.
        where: that file, for messages.

    Raises:
        InputError: when it would lie outside.
    """
    path = Path(folder) / local_name(name, where or folder)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"{path}: is a link, or lies behind one, that leads out of {folder}. Put a copy there instead."
        )
    return path


def same_file(a: Path, b: Path) -> bool:
    """Whether two names are one file, through links, hard links, or a file system that does not tell a from A."""
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):
        return False


def folded(name: str) -> str:
    """What is equal for names that some file systems take for one: whatever the case, whatever the Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_not_input(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        OutputError: when it is, by whatever name.
    """
    for source in inputs:
        if same_file(path, source):
            raise OutputError(f"{path}: is the input {source}, which must stay untouched. Choose another name.")


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


@contextmanager
def whole_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it becomes ``path``, on any failure nothing of it is left.

    A folder that is there already is kept, and the new files move into it at the end, one by one.

    Raises:
        OutputError: when ``path`` is a file, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: exists already and is no folder. Choose another name.")
    made = _missing_folders(path.parent)
    temporary = path.with_name(f".{os.getpid()}-{path.name}.part")
    done = False
    try:
        make_folder(path.parent)
        _make_afresh(temporary)
        yield temporary
        _become(temporary, path, overwrite)
        done = True
    except OutputError as error:  # speaks of the temporary folder, of which nobody has heard
        raise OutputError(str(error).replace(str(temporary), str(path))) from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not done:
            _remove_empty(made)


def _missing_folders(path: Path) -> list[Path]:
    """``path`` and those of its parents that are not there, innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _make_afresh(folder: Path) -> None:
    """Make a folder, without what a killed process of the same number may have left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _become(temporary: Path, path: Path, overwrite: bool) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    files = sorted(temporary.iterdir())
    for file in files:
        check_writable(path / file.name, overwrite=overwrite)
    for file in files:
        file.replace(path / file.name)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # somebody else has put something there meanwhile
            return
