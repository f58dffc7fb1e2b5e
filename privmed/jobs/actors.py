"""Engine ``ray``: actors of Ray Core, on this machine or on a cluster, each with its own copy of the models.

Drafts and outputs are files, so all machines of a cluster need the same folders.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from attrs import define, field

from privmed.errors import MissingDependencyError
from privmed.jobs.contracts import ITEM_ERRORS, JobError, LostItem, Place, Result, Task, Unit, WorkerError
from privmed.jobs.pool import AHEAD, STARTS, THREADS, threads_of_worker
from privmed.jobs.worker import attempt, spoken


class Actor:
    """What runs in a process of Ray: a task, opened once."""

    def __init__(self, task: Task, place: Place) -> None:
        self.broken: tuple[Any, str] | None = None
        try:
            self.work = task.open(place)
        except Exception as error:
            self.broken = spoken(error)

    def ready(self) -> tuple[Any, str] | None:
        """Why the task could not be opened; None if it could."""
        return self.broken

    def do(self, number: int, payload: Any) -> tuple:
        """One unit, as a worker of the engine ``processes`` does it."""
        return attempt(self.work, number, payload)


@define(eq=False)
class Held:
    """An actor of the driver, and the answers that are awaited from it: first that it is ready, then one for each unit."""

    number: int
    actor: Any
    awaited: deque[tuple[Any, Unit | None]] = field(factory=deque)


class RayActors:
    """Runs units in actors of Ray.

    Args:
        workers: how many actors at most; by default one a device, or where networks compute on processors one for each of them. Never
            more than there is room for: Ray would wait for it for ever.
        device: where networks compute.
        address: of a cluster; ``RAY_ADDRESS`` by default, else one is started on this machine.

    Raises:
        MissingDependencyError: when Ray is not installed.
    """

    name = "ray"

    def __init__(self, workers: int | None = None, *, device: str = "cpu", address: str | None = None) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("the engine ray needs Ray. Install it: pip install 'privmed[ray]'") from error
        self.wanted, self.address = workers, address
        self.devices = 1 if device.startswith("cuda") else 0
        self.threads = threads_of_worker()

    @property
    def workers(self) -> int:
        """How many actors there are to be; what there is room for is known when Ray runs."""
        import ray

        if not ray.is_initialized():
            return self.wanted or 0
        resources = ray.cluster_resources()
        room = int(resources.get("CPU", 0)) // self.threads
        room = min(room, int(resources.get("GPU", 0))) if self.devices else room
        return min(self.wanted or room, room)

    def run(self, task: Task, units: Iterable[Unit]) -> Iterator[Result]:
        """As :meth:`Executor.run`; an actor that dies costs the unit it was at.

        Raises:
            JobError: when there is no room for an actor, or one dies twice at its start.
        """
        import ray

        waiting = iter(units)
        first = next(waiting, None)
        if first is None:  # Ray takes seconds to start
            return
        ours = not ray.is_initialized()
        if ours:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            ray.init(self.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        run = _Run(self, task, first, waiting)
        try:
            yield from run.results()
        finally:
            run.end()
            if ours:
                ray.shutdown()


class _Run:
    """One run of :class:`RayActors`."""

    def __init__(self, pool: RayActors, task: Task, first: Unit, units: Iterator[Unit]) -> None:
        import ray

        self.pool, self.units, self.again = pool, units, deque([first])
        self.task = ray.put(task)
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self.environment = {"PYTHONPATH": path, **dict.fromkeys(THREADS, str(pool.threads))}
        self.actors: list[Held] = []
        self.deaths: dict[int, int] = {}

    def results(self) -> Iterator[Result]:
        import ray

        count = self.pool.workers
        if count < 1:
            raise JobError("this Ray cluster has no free processor or device for an actor. Give it more.")
        for number in range(count):
            self._start(number)
        while self.again or any(unit is not None for held in self.actors for _, unit in held.awaited):
            done, _ = ray.wait([held.awaited[0][0] for held in self.actors if held.awaited], num_returns=1)
            held = next(held for held in self.actors if held.awaited and held.awaited[0][0] == done[0])
            result = self._take(held)
            if result is not None:
                yield result

    def end(self) -> None:
        """End all actors, now."""
        import ray

        for held in self.actors:
            with suppress(Exception):
                ray.kill(held.actor)

    def _start(self, number: int) -> None:
        import ray

        options = {"num_cpus": self.pool.threads, "num_gpus": self.pool.devices, "max_restarts": 0}
        remote = ray.remote(**options, runtime_env={"env_vars": self.environment})(Actor)
        place = Place("cuda" if self.pool.devices else None, number)
        actor = remote.remote(self.task, place)
        self.actors.append(Held(number, actor, deque([(actor.ready.remote(), None)])))

    def _fill(self, held: Held) -> None:
        while len(held.awaited) < AHEAD:
            unit = self.again.popleft() if self.again else next(self.units, None)
            if unit is None:
                return
            held.awaited.append((held.actor.do.remote(0, unit.payload), unit))

    def _take(self, held: Held) -> Result | None:
        """The first answer of an actor, or what its end costs."""
        import ray

        reference, unit = held.awaited.popleft()
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayActorError:
            return self._lost(held, unit)
        if unit is None:
            if answer is not None:
                raise _told(*answer)
            self._fill(held)
            return None
        self._fill(held)
        _, _, value, details, seconds = answer
        if details is None:
            return Result(unit, value, None, seconds)
        if not isinstance(value, ITEM_ERRORS):
            raise _told(value, details)
        if isinstance(value, LostItem):
            value = LostItem(f"{unit.id}: {value}")
        return Result(unit, None, value, seconds)

    def _lost(self, held: Held, unit: Unit | None) -> Result | None:
        self.actors.remove(held)
        self.again.extend(other for _, other in held.awaited if other is not None)
        if unit is None:
            self.deaths[held.number] = self.deaths.get(held.number, 0) + 1
            if self.deaths[held.number] >= STARTS:
                raise JobError("actors of Ray end before they can begin. Use fewer --workers.")
        self._start(held.number)
        if unit is None:
            return None
        words = "its actor ended before it was done; is there not enough memory? Use fewer --workers."
        return Result(unit, None, LostItem(f"{unit.id}: {words}"), 0.0)


def _told(error: Exception, details: str) -> Exception:
    if isinstance(error, WorkerError):
        error.details = details
    error.add_note(details)
    return error
