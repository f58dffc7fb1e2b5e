"""Engine ``processes``: spawned workers, each with its own copy of the models."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from attrs import define, field

from privmed.jobs.contracts import ITEM_ERRORS, JobError, LostItem, Place, Result, Task, Unit, WorkerError
from privmed.jobs.messages import receive, send
from privmed.jobs.worker import BROKEN, READY

AHEAD = 2  # units that a worker holds: one in work, one that waits, so that it never waits for the driver
STARTS = 2  # how often a worker may die before it was ready
PATIENCE = 5.0  # seconds for a worker that is to end by itself
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of_worker() -> int:
    """How many threads a worker computes on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else 1


@define(eq=False)
class Worker:
    """One process, and what it holds."""

    place: Place
    process: subprocess.Popen
    held: deque[tuple[int, Unit]] = field(factory=deque)
    ready: bool = False

    def give(self, number: int, unit: Unit) -> None:
        """Hand it a unit; a worker that is dead already is noticed by its end, not here."""
        self.held.append((number, unit))
        with suppress(OSError):
            send(self.process.stdin, (number, unit.payload))

    def end(self, *, now: bool) -> None:
        """Tell it to end: when it has done what it holds, or now."""
        if now:
            self.process.kill()
        with suppress(OSError):
            self.process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """Runs units in worker processes.

    Args:
        workers: how many.
        devices: where networks compute, worker by worker in turn; none: where the task says.
        threads: of each worker, ``OMP_NUM_THREADS`` or else one by default: their number may move the last bits of what networks compute,
            so it must not depend on the number of workers.
    """

    name = "processes"

    def __init__(self, workers: int, devices: list[str] | None = None, threads: int | None = None) -> None:
        self.workers = workers
        self.devices = devices or [None]
        self.threads = threads or threads_of_worker()

    def run(self, task: Task, units: Iterable[Unit]) -> Iterator[Result]:
        """As :meth:`Executor.run`; a worker that dies costs the unit it was at.

        Raises:
            JobError: when a worker dies twice at its start.
        """
        return _Run(self, task, units).results()


class _Run:
    """One run of :class:`Processes`."""

    def __init__(self, pool: Processes, task: Task, units: Iterable[Unit]) -> None:
        self.pool, self.task = pool, task
        self.units = iter(units)
        self.numbers = iter(range(sys.maxsize))
        self.again: deque[tuple[int, Unit]] = (
            deque()
        )  # drawn, and at no worker: the first ones, and what waited at one that died
        self.told: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
        self.workers: list[Worker] = []
        self.deaths: Counter[int] = Counter()  # by number of the worker, before it was ready

    def results(self) -> Iterator[Result]:
        finished = False
        try:
            self.again.extend(zip(self.numbers, itertools.islice(self.units, self.pool.workers)))
            for number in range(len(self.again)):  # there may be fewer units than workers
                self._start(number)
            while self.again or any(worker.held for worker in self.workers):
                worker, message = self.told.get()
                result = self._lost(worker) if message is None else self._answer(worker, message)
                if result is not None:
                    yield result
            finished = True
        finally:
            for worker in self.workers:
                worker.end(now=not finished)
            for worker in self.workers:
                worker.wait()

    def _next(self) -> tuple[int, Unit] | None:
        if self.again:
            return self.again.popleft()
        unit = next(self.units, None)
        return None if unit is None else (next(self.numbers), unit)

    def _fill(self, worker: Worker) -> None:
        while len(worker.held) < AHEAD and (unit := self._next()) is not None:
            worker.give(*unit)

    def _start(self, number: int) -> None:
        pool = self.pool
        place = Place(pool.devices[number % len(pool.devices)], number)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        environment |= dict.fromkeys(THREADS, str(pool.threads))  # read when their libraries load
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "privmed.jobs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        worker = Worker(place, process)
        self.workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        with suppress(OSError):  # its end is noticed
            send(process.stdin, (self.task, place))

    def _listen(self, worker: Worker) -> None:
        """Pass on what a worker says, and None when it is gone."""
        with worker.process.stdout as pipe:
            try:
                while True:
                    self.told.put((worker, receive(pipe)))
            except Exception:  # EOF, or half a message
                self.told.put((worker, None))

    def _answer(self, worker: Worker, message: tuple) -> Result | None:
        kind, number, value, more, seconds = message
        if kind == BROKEN:
            raise _with(value, more)
        if kind == READY:
            worker.ready = True
            self._fill(worker)
            return None
        held, unit = worker.held.popleft()
        assert held == number  # a worker answers in order
        self._fill(worker)
        if not isinstance(value, Exception) or more is None:
            return Result(unit, value, None, seconds)
        if not isinstance(value, ITEM_ERRORS):
            raise _with(value, more)
        if isinstance(value, LostItem):
            value = LostItem(f"{unit.id}: {value}")
        return Result(unit, None, value, seconds)

    def _lost(self, worker: Worker) -> Result | None:
        """A worker is gone. Another one takes its place; what it was at is given up."""
        code = worker.process.wait()
        self.workers.remove(worker)
        worker.end(now=True)
        if not worker.ready:
            self.deaths[worker.place.number] += 1
            if self.deaths[worker.place.number] >= STARTS:
                raise JobError(f"workers end before they can begin ({ended(code)}). Use fewer --workers.")
            self._start(worker.place.number)
            return None
        lost = worker.held.popleft() if worker.held else None
        self.again.extend(worker.held)
        if self.again or lost is not None:
            self._start(worker.place.number)
        if lost is None:
            return None
        return Result(
            lost[1], None, LostItem(f"{lost[1].id}: its worker ended before it was done ({ended(code)})."), 0.0
        )


def ended(code: int) -> str:
    """How a process ended, for people."""
    if code == -9:
        return "killed; is there not enough memory? Use fewer --workers"
    if code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _with(error: Exception, details: str) -> Exception:
    """An error with the traceback that it had in the worker."""
    if isinstance(error, WorkerError):
        error.details = details
    error.add_note(details)
    return error
