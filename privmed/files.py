"""Files and folders that appear whole or not at all, and names from files, which stay in their folder."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from privmed.errors import InputError, OutputError

LONGEST = 255  # bytes of one part of a name; what common file systems take
PART = re.compile(r"\.[0-9a-f]{16}\.privmed-part")  # what a file is called while it is written; nobody else's files are


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
def whole_file(
    path: str | os.PathLike[str], *, overwrite: bool = False, work: str | os.PathLike[str] | None = None
) -> Iterator[Path]:
    """Give a temporary name; on success the file becomes ``path``, on any failure it vanishes.

    Args:
        path: the file to be.
        overwrite: whether one of that name may be replaced.
        work: where the temporary file lies; beside ``path`` by default. A folder of the same file system.

    Raises:
        OutputError: when ``path`` exists already, or cannot be written.
    """
    path = Path(path)
    check_writable(path, overwrite=overwrite)
    temporary = _temporary(Path(work or path.parent))
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.privmed-part"


def write_tensors(path: Path, state: dict[str, Any]) -> None:
    """Write plain data and tensors whole or not at all; through memory, as what torch says about a full disk cannot be told from a bug."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_bytes(buffer.getbuffer())


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says about an output (full, read-only, name too long) into a sentence.

    Raises:
        OutputError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed runs left in a folder: ours alone, told by their names."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def check_writable(path: Path, *, overwrite: bool = False, force: bool = True) -> None:
    """Say early, before any work, why ``path`` cannot be written.

    Raises:
        OutputError: when it exists (and ``overwrite`` is off), is a folder, or its folder is missing or read-only.
    """
    with writing(path):  # a name that is too long fails here
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected a file name.")
        if os.path.lexists(path) and not overwrite:
            raise OutputError(
                f"{path}: exists already. Choose another name{', or allow it with --force' if force else ''}."
            )
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}.")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"{path}: the folder {path.parent} is read-only.")


def check_folder(path: Path) -> None:
    """Say early, before any work, why an output folder cannot be made or written into; nothing is made.

    Raises:
        OutputError: when a file is in the way, or the folder that it would lie in is read-only.
    """
    with writing(path):
        there = next(p for p in (path, *path.absolute().parents) if _is_there(p))
        if not there.is_dir():
            raise OutputError(f"{path}: {'' if there == path else f'{there} '}is a file, expected a folder.")
        if not os.access(there, os.W_OK):
            raise OutputError(f"{path}: the folder {there} is read-only.")


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name; a name that cannot be is an OSError, other than for ``os.path.lexists``."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folder(path: Path) -> Path:
    """Make an output folder, or say why it cannot be."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error}).") from error
    return path


@contextmanager
def whole_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it becomes ``path``, on any failure nothing of it is left.

    A folder that is there already is kept: the new files are made in a hidden folder inside it, and move at the end, one by one.

    Raises:
        OutputError: when ``path`` is a file, or cannot be written.
    """
    path = Path(path)
    check_folder(path)
    made = _missing_folders(path.parent)
    place = path if path.is_dir() else path.parent  # the parent of one that is there may be read-only, or another disk
    temporary = _temporary(place)
    done = False
    try:
        make_folder(place)
        temporary.mkdir()
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
