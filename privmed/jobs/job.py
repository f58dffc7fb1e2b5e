"""A job: runs units through an executor, hands each value to who asked for it, and keeps a log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from attrs import Factory, define, field

from privmed.errors import InputError, PrivmedError
from privmed.jobs.contracts import ITEM_ERRORS, Executor, JobError, Task, Unit
from privmed.jobs.local import Local
from privmed.jobs.log import JobLog
from privmed.jobs.shards import Shard

Accept = Callable[[Unit, Any], None]


@define
class Job:
    """How work over many items is run.

    Attributes:
        name: of the command.
        executor: where.
        max_failures: how many items may fail before the job ends; None: all of them.
        strict: end at the first item that fails, with its error.
        shard: the part of the work that this run has.
        retry_failed: only what failed before, as the log says.
        log: what became of each unit; none by default.
        unusable: ids of units that failed for what they are, and would fail again.
        about: what its log says of it besides.
        failed: id and reason of each unit that failed so far.
    """

    name: str = "job"
    executor: Executor = Factory(Local)
    max_failures: int | None = None
    strict: bool = False
    shard: Shard | None = None
    retry_failed: bool = False
    log: JobLog | None = field(default=None, repr=False)
    about: dict[str, Any] = Factory(dict)
    failed: list[tuple[str, str]] = Factory(list)
    unusable: set[str] = Factory(set)
    _seconds: float = field(default=0.0, init=False)  # that the unit at hand took

    def part(self, units: Sequence[Any], ids: Iterable[str]) -> list[Any]:
        """Those of all units of the work that this run has to do; the log says which whole (``ids``) they are a part of."""
        if self.shard is None:
            return list(units)
        ids = list(ids)
        self.about |= {"shard": str(self.shard), "count": len(ids), "ids": digest_of(ids)}
        return self.shard.of(units)

    def run(
        self,
        task: Task,
        units: Iterable[Unit],
        accept: Accept,
        *,
        tick: Callable[[], None] = lambda: None,
        failed: Callable[[Unit, PrivmedError], None] | None = None,
    ) -> None:
        """Run units; their results come in any order.

        Args:
            task: what is done to each.
            units: what it is done to; drawn one by one.
            accept: given each unit and its value, here and never at the same time. What it raises of ``ITEM_ERRORS`` fails that unit.
            tick: called after each.
            failed: given each unit that failed and its error; :meth:`fail` by default.

        Raises:
            JobError: when more than ``max_failures`` units failed.
            PrivmedError: the error of a unit, if ``strict``; any other error of a task.
        """
        with closing(self.executor.run(task, units)) as results:  # type: ignore[type-var]
            for result in results:
                self._seconds = result.seconds
                try:
                    if result.error is not None:
                        raise result.error
                    accept(result.unit, result.value)
                except ITEM_ERRORS as error:
                    if failed is None:
                        self.fail(result.unit.id, error)
                    else:
                        failed(result.unit, error)
                tick()

    def fail(self, id_: str, error: Exception) -> None:
        """Note that a unit failed.

        Raises:
            JobError, PrivmedError: as :meth:`run`.
        """
        self.failed.append((id_, str(error)))
        if isinstance(error, InputError):
            self.unusable.add(id_)
        self.note(id_, "failed", reason=str(error))
        if self.strict:
            raise error
        if self.max_failures is not None and len(self.failed) > self.max_failures:
            raise JobError(
                f"{len(self.failed)} items failed, more than --max-failures {self.max_failures}; the first is "
                f"{self.failed[0][0]}: {self.failed[0][1]} What is written is whole; mend them and go on with --resume."
            )

    def note(self, id_: str, state: str, **more: Any) -> None:
        """Put a line into the log, if there is one; done by whoever keeps what was made."""
        if self.log is not None:
            self.log.add(id=id_, state=state, **more, seconds=round(self._seconds, 4))


def digest_of(ids: Iterable[str]) -> str:
    """Whether two shards were cut from the same whole: a digest of its ids, in order."""
    whole = hashlib.sha256()
    for id_ in ids:
        whole.update(id_.encode("utf-8", "surrogateescape") + b"\0")
    return whole.hexdigest()[:16]
