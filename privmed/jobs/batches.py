"""Units in batches: a network on a device answers several images in hardly more time than one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from attrs import frozen

from privmed.errors import PrivmedError
from privmed.jobs.contracts import (
    ITEM_ERRORS,
    SHORT,
    Executor,
    LostItem,
    Place,
    Result,
    Task,
    Unit,
    is_short_of_memory,
)

T = TypeVar("T")


@runtime_checkable
class TakesBatches(Protocol):
    """A task whose units may be done together."""

    def open_batches(self, place: Place) -> Callable[[list[Any]], list[Any]]:
        """As :meth:`Task.open`, for a list of payloads: a value of each, in order, or what is wrong with it (``ITEM_ERRORS``)."""
        ...


@frozen
class Batched:
    """Hands units to an executor in batches. A worker that dies costs the batch it was at; a unit that is wrong costs itself.

    The last bits of what a network computes may depend on what else is in a batch, and after an interruption batches are others.
    """

    executor: Executor
    size: int

    @property
    def name(self) -> str:
        """Of the executor."""
        return self.executor.name

    @property
    def workers(self) -> int:
        """Of the executor."""
        return self.executor.workers

    def run(self, task: Task, units: Iterable[Unit]) -> Iterator[Result]:
        """As :meth:`Executor.run`."""
        waiting = iter(units)
        batches = iter(lambda: list(itertools.islice(waiting, self.size)), [])
        together = (Unit(batch[0].id, batch) for batch in batches)
        for result in self.executor.run(Together(task), together):
            batch, seconds = result.unit.payload, result.seconds / len(result.unit.payload)
            values = result.value if result.error is None else [named(result.error, batch[0], unit) for unit in batch]
            for unit, value in zip(batch, values, strict=True):
                wrong = isinstance(value, PrivmedError)
                if isinstance(value, LostItem) and result.error is None:  # one of a batch, which does not know its name
                    value = LostItem(f"{unit.id}: {value}")
                yield Result(unit, None if wrong else value, value if wrong else None, seconds)


def named(error: PrivmedError, first: Unit, unit: Unit) -> PrivmedError:
    """What befell a batch, which an executor says of its first unit, said of one of its units."""
    return type(error)(str(error).replace(first.id, unit.id, 1))


@frozen
class Together:
    """A task whose units are batches of another's units."""

    task: Task

    def open(self, place: Place) -> Callable[[list[Unit]], list[Any]]:
        """The work."""
        work = batches_of(self.task, place)
        return lambda batch: work([unit.payload for unit in batch])


def batches_of(task: Task, place: Place) -> Callable[[list[Any]], list[Any]]:
    """Open a task for batches; one that takes none does their units one after the other."""
    if isinstance(task, TakesBatches):
        return task.open_batches(place)
    work = task.open(place)
    return lambda payloads: [attempt(work, payload) for payload in payloads]


def in_groups(
    units: list[T],
    read: Callable[[T], Any],
    kind_of: Callable[[Any], Hashable],
    change: Callable[[list[T], list[Any]], Iterable[Any]],
    write: Callable[[T, Any, Any], Any],
    alone: Callable[[T], Any],
) -> list[Any]:
    """Work on those units of a batch together that a network can take together.

    Args:
        units: the batch.
        read: what a unit is about.
        kind_of: what those have in common that go together, such as their size.
        change: the work on a group; it answers for each, in order.
        write: what to do with the answer for a unit; returns its value.
        alone: the work on one unit, whole. It is done for each of a group that fails together, so that none suffers from another.

    Returns:
        A value of each, in order, or what is wrong with it (``ITEM_ERRORS``).
    """
    made: list[Any] = [attempt(read, unit) for unit in units]
    groups: dict[Hashable, list[int]] = {}
    for n, seen in enumerate(made):
        if not isinstance(seen, ITEM_ERRORS):
            groups.setdefault(kind_of(seen), []).append(n)
    for group in groups.values():
        try:
            answers = list(change([units[n] for n in group], [made[n] for n in group]))
        except Exception:  # whatever a plugin raises, or a lack of memory; alone, it is told of whom
            answers = None
        if answers is None:  # the error is gone by now, and with it what the batch held of the memory
            for n in group:
                made[n] = attempt(alone, units[n])
            continue
        for n, answer in zip(group, answers, strict=True):
            made[n] = attempt(lambda given: write(*given), (units[n], made[n], answer))
    return made


def attempt(work: Callable[[Any], Any], payload: Any) -> Any:
    """The value of a unit, or what is wrong with it."""
    try:
        return work(payload)
    except ITEM_ERRORS as error:
        return error
    except Exception as error:
        if not is_short_of_memory(error):
            raise
        return LostItem(SHORT)
