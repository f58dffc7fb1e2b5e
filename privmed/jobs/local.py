"""Engine ``local``: one unit after the other, in this process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from privmed.jobs.contracts import ITEM_ERRORS, SHORT, LostItem, Place, Result, Task, Unit, is_short_of_memory


class Local:
    """Runs units in order, where it is called."""

    name = "local"
    workers = 1

    def run(self, task: Task, units: Iterable[Unit]) -> Iterator[Result]:
        """As :meth:`Executor.run`."""
        work = None
        for unit in units:
            work = work or task.open(Place())  # not for a job that has nothing to do
            start = time.perf_counter()
            try:
                value, error = work(unit.payload), None
            except ITEM_ERRORS as wrong:
                value, error = None, wrong
            except Exception as wrong:
                if not is_short_of_memory(wrong):
                    raise
                value, error = None, LostItem(f"{unit.id}: {SHORT}")
            yield Result(unit, value, error, time.perf_counter() - start)
