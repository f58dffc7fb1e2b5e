"""How much a file may cost before it is believed: sizes, pixels, parameters and time, checked before anything is decoded or built.

A file that somebody handed over says of itself how large it is, and a small one may say that it is enormous. Whoever has larger
honest files raises a limit with the environment variable that the error names, such as ``PRIVMED_MAX_PIXELS=400_000_000``.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import attrs
from attrs import frozen

from privmed.errors import InputError, PrivmedError, SettingsError
from privmed.settings import at_least, setting

PREFIX = "PRIVMED_MAX_"
MEBIBYTE = 2**20
DEPTH = 100
"""Levels of lists and mappings within each other that a YAML file may have."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


@frozen(kw_only=True)
class Limits:
    """The largest that is read, decoded, built or waited for; ``PRIVMED_MAX_`` and the name in capitals sets another one."""

    pixels: int = setting(100_000_000, "of an image, a frame or a page", at_least(1))
    file_bytes: int = setting(4096 * MEBIBYTE, "of an image, weights, a checkpoint, a model or a key", at_least(1))
    table_bytes: int = setting(
        512 * MEBIBYTE, "of a table, manifest or run log, which grow with a data set", at_least(1)
    )
    text_bytes: int = setting(16 * MEBIBYTE, "of a recipe, model card, model description or results file", at_least(1))
    parameters: int = setting(500_000_000, "numbers in a network that is built", at_least(1))
    tensors: int = setting(100_000, "tensors in a network that is built", at_least(1))
    model_seconds: int = setting(600, "that a trusted model may take to load, or to answer for a batch", at_least(1))


def limits() -> Limits:
    """The limits in force.

    Raises:
        SettingsError: when an environment variable holds no whole number above 0.
    """
    given = {}
    for name in (a.name for a in attrs.fields(Limits)):
        text = os.environ.get(variable(name))
        if text is not None:
            try:
                given[name] = int(text)
                Limits(**{name: given[name]})
            except ValueError as error:
                raise SettingsError(f"{variable(name)} must be a whole number of at least 1, got {text!r}.") from error
    return Limits(**given)


def variable(limit: str) -> str:
    """The environment variable that sets a limit."""
    return PREFIX + limit.upper()


def raise_it(limit: str) -> str:
    """What an error says at its end: the limit, and how to set another one."""
    return f"more than the limit of {getattr(limits(), limit):,}. If you trust it, set {variable(limit)} higher."


def check_area(path: str | os.PathLike[str], height: int, width: int) -> None:
    """Refuse to decode an image whose header says that it is enormous.

    Raises:
        InputError: when it has more pixels than the limit, or none.
    """
    if height < 1 or width < 1:
        raise InputError(f"{path}: says it is {width} x {height} pixels. The file is damaged.")
    if height * width > limits().pixels:
        raise InputError(f"{path}: is {width} x {height} = {height * width:,} pixels, {raise_it('pixels')}")


def check_file(
    path: str | os.PathLike[str], limit: str = "file_bytes", *, error: type[PrivmedError] = InputError, name: str = ""
) -> None:
    """Refuse what is no regular file, since opening a named pipe waits for ever, and what is larger than a limit.

    Args:
        path: the file; links are followed.
        limit: which field of :class:`Limits` holds for its size.
        error: what is raised.
        name: what it is called in the message; its path by default.

    Raises:
        OSError: when it is missing or may not be looked at.
    """
    _check(os.stat(path), name or os.fspath(path), limit, error)


def read_bytes(
    path: str | os.PathLike[str], limit: str = "file_bytes", *, error: type[PrivmedError] = InputError, name: str = ""
) -> bytes:
    """Read a whole regular file of bounded size; arguments and errors as of :func:`check_file`."""
    name = name or os.fspath(path)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        _check(os.fstat(handle), name, limit, error)
        data = file.read(getattr(limits(), limit) + 1)
    if len(data) > getattr(limits(), limit):  # it grew meanwhile, or a file system that knows no sizes
        raise error(f"{name}: has {raise_it(limit)}")
    return data


def read_text(
    path: str | os.PathLike[str],
    limit: str = "text_bytes",
    *,
    error: type[PrivmedError] = InputError,
    name: str = "",
    encoding: str = "utf-8",
) -> str:
    """Read a text file as :func:`read_bytes` does; line ends stay what they are.

    Raises:
        UnicodeDecodeError: when it is not text in that encoding.
    """
    return read_bytes(path, limit, error=error, name=name).decode(encoding)


def read_json(path: str | os.PathLike[str], *, error: type[PrivmedError] = InputError, name: str = "") -> Any:
    """Read a small JSON file.

    Raises:
        OSError, ValueError: when it is missing, or no JSON.
    """
    text = read_text(path, error=error, name=name)
    try:
        return json.loads(text)
    except RecursionError as deep:
        raise ValueError("it is nested too deeply") from deep


def read_yaml(path: str | os.PathLike[str], *, error: type[PrivmedError] = InputError, name: str = "") -> Any:
    """Read a small YAML file of plain data; aliases are refused, since a few lines of them stand for gigabytes.

    Raises:
        OSError, UnicodeDecodeError, yaml.YAMLError: when it is missing, or no such YAML.
    """
    import yaml

    text = read_text(path, error=error, name=name)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is faster; not every PyYAML has it
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it uses an alias (*name); write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:  # the loader in C would crash
            raise yaml.YAMLError("it is nested too deeply")
    reading = loader(text)
    try:
        return reading.get_single_data()
    except (
        ValueError,
        KeyError,
        AttributeError,
    ) as bad:  # of PyYAML, for a value that is not what its tag or its form says
        raise yaml.YAMLError("it holds a date or number that is none, or a value that does not fit its tag") from bad


def _check(found: os.stat_result, name: str, limit: str, error: type[PrivmedError]) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = next((word for is_kind, word in KINDS if is_kind(found.st_mode)), "no regular file")
        raise error(f"{name}: is {what}, expected a regular file.")
    if found.st_size > getattr(limits(), limit):
        raise error(f"{name}: has {found.st_size:,} bytes, {raise_it(limit)}")
