"""Shards: the n-th part of a job, for arrays of Slurm and Kubernetes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from privmed.errors import SettingsError

ARRAYS = (  # which number an array job has: the variable, and the variable (or number) that says which is the first
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", 1),
    ("JOB_COMPLETION_INDEX", "", 0),
)


@frozen
class Shard:
    """Part ``number`` (from 1) of ``count``."""

    number: int
    count: int

    def of(self, units: Sequence[Any]) -> list[Any]:
        """Its share of all units of a job: every ``count``-th, so that each has of what takes long."""
        return list(units[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def word(self) -> str:
        """For names of files."""
        return f"shard-{self.number}-of-{self.count}"


def read_shard(text: str, environment: Mapping[str, str] | None = None) -> Shard | int:
    """What ``--shard`` says: ``3/8``, or ``8`` inside an array job, whose number it takes.

    Returns:
        The shard; outside an array job and without a number, how many there are to be.

    Raises:
        SettingsError: for what is no shard, or an array of another size.
    """
    match = re.fullmatch(r"(?:(\d+)/)?(\d+)", text.strip())
    number, count = (int(n) if n else None for n in match.groups()) if match else (0, 0)
    if not count or number == 0 or (number or 1) > count:
        raise SettingsError(f"--shard {text!r}: expected a part of the whole such as 3/8, or 8 in an array job.")
    if number is None:
        number = _of_array(os.environ if environment is None else environment)
    if number is None:
        return count
    if number > count:
        raise SettingsError(f"--shard {count}: this is task {number} of the array job. Let it have {count} tasks.")
    return Shard(number, count)


def _of_array(environment: Mapping[str, str]) -> int | None:
    """The number of this task of an array job, from 1; None outside."""
    for name, first, otherwise in ARRAYS:
        if environment.get(name, "").isdigit():
            start = environment.get(first, "")
            return int(environment[name]) - (int(start) if start.isdigit() else otherwise) + 1
    return None


def commands(arguments: Sequence[str], count: int) -> list[str]:
    """The command line of every shard, from the one that named their number."""
    plain = list(without(arguments, "--shard"))
    return [shlex.join(["privmed", *plain, "--shard", f"{n}/{count}"]) for n in range(1, count + 1)]


def without(arguments: Sequence[str], option: str) -> Iterator[str]:
    """A command line without an option and its value."""
    words = iter(arguments)
    for word in words:
        if word == option:
            next(words, None)
        elif not word.startswith(f"{option}="):
            yield word


def output_of(arguments: Sequence[str]) -> str:
    """The output folder that a command line names, for another command line."""
    for word, following in zip(arguments, [*arguments[1:], ""]):
        if word in ("-o", "--output"):
            return shlex.quote(following)
        if word.startswith("--output="):
            return shlex.quote(word.partition("=")[2])
    return "OUTPUT"
