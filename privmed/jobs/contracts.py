"""The contract between work and where it runs: units, tasks, results, executors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from attrs import field, frozen

from privmed.errors import InputError, KeyFileError, PrivmedError, VerificationError

SEED_BITS = 56


class LostItem(PrivmedError):
    """An item whose worker died or ran out of memory; it costs that item alone."""


class JobError(PrivmedError):
    """A job that cannot go on: too many failures, or workers that do not start."""


class WorkerError(PrivmedError):
    """An error in a worker that nobody has thought of; ``details`` holds its traceback."""

    details: str = ""


ITEM_ERRORS = (InputError, KeyFileError, VerificationError, LostItem)
"""What is wrong with one item; every other error ends the job."""

SHORT = "there was not enough memory for it. Use fewer --workers, a smaller --batch, or a machine with more memory."


def is_short_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's, torch's or a device's."""
    words = "not enough memory" in str(error) or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or words


@frozen
class Unit:
    """One piece of work.

    Attributes:
        id: unique in its job, and the same in every run: what a log, a shard and a seed go by.
        payload: what the task is given; it is sent to another process, so it is small.
    """

    id: str
    payload: Any = field(default=None, repr=False)


@frozen
class Result:
    """What became of a unit: a value, or an error of ``ITEM_ERRORS``; and how long it took, in seconds."""

    unit: Unit
    value: Any = None
    error: PrivmedError | None = None
    seconds: float = 0.0


@frozen
class Place:
    """Where a task is opened.

    Attributes:
        device: where networks compute; None: where they were made for.
        number: of the worker, from 0.
    """

    device: str | None = None
    number: int = 0


class Task(Protocol):
    """What is done to every unit. It is sent to each worker once (as a pickle, between processes of privmed only)."""

    def open(self, place: Place) -> Callable[[Any], Any]:
        """Load what every unit needs, and return ``work(payload)``.

        The value depends on the payload alone, never on the worker or on what was done before.
        """
        ...


class Executor(Protocol):
    """Runs units in any order.

    Attributes:
        name: what the command line calls it.
        workers: how many units run at a time.
    """

    name: str
    workers: int

    def run(self, task: Task, units: Iterable[Unit]) -> Iterator[Result]:
        """Yield a result for each unit. Units are drawn as workers become free, so an iterator of millions takes no memory.

        Closing the iterator ends all workers.

        Raises:
            PrivmedError: for an error that is not one of ``ITEM_ERRORS``.
        """
        ...


def seed_of(seed: int, id_: str) -> int:
    """The seed of an item, from that of the job: the same in every run, whatever worker or shard has it.

    Example:
        >>> from privmed.jobs.contracts import seed_of
        >>> seed_of(0, "a.png") == seed_of(0, "a.png") != seed_of(0, "b.png")
        True
    """
    whole = hashlib.sha256(f"{seed}:".encode() + id_.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(whole, "big") >> (256 - SEED_BITS)
