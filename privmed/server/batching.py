"""One analyzer for all clients: photographs of one size are analysed together, in a thread of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from privmed.imaging.wire import from_bytes, to_bytes
from privmed.server.settings import ServerSettings


@frozen(eq=False)
class Answer:
    """A response, (H, W, 3) uint8, and how long it took."""

    pixels: np.ndarray
    waited: float
    computed: float
    batch: int


@frozen(eq=False)
class Job:
    """A photograph that waits, (H, W) or (H, W, 3) uint8."""

    pixels: np.ndarray
    answer: Future[Answer] = field(factory=Future)
    came: float = field(factory=time.monotonic)


class Batcher:
    """Collect photographs for a few milliseconds, and analyse those of one size together, the one that came first among them.

    Args:
        analyze: from stegos (B, 3, H, W) to responses of the same shape.
        settings: how many, how long.
    """

    def __init__(self, analyze: Callable[[Tensor], Tensor], settings: ServerSettings) -> None:
        self._analyze, self._settings = analyze, settings
        self._waiting: list[Job] = []
        self._changed = Condition()
        self._closing = False
        self._thread = Thread(target=self._work, name="privmed-batcher", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether photographs are taken."""
        return self._thread.is_alive() and not self._closing

    def submit(self, pixels: np.ndarray) -> Future[Answer]:
        """Hand in a photograph.

        Raises:
            RuntimeError: after :meth:`close`.
        """
        job = Job(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, 2))
        with self._changed:
            if self._closing:
                raise RuntimeError("the server is stopping")
            self._waiting.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Finish what was taken, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            wanted = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if wanted:
                self._answer(wanted)

    def _next(self) -> list[Job]:
        """Wait for the next batch; empty when there is nothing more to do."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return []
            first = self._waiting[0]
            latest = first.came + self._settings.wait / 1000
            while len(batch := self._fitting(first)) < self._room(first) and not self._closing:
                left = latest - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._waiting = [job for job in self._waiting if job not in batch]
            return batch

    def _room(self, job: Job) -> int:
        """How many photographs of this size go into a batch: no batch is larger than the largest photograph."""
        height, width = job.pixels.shape[:2]
        return max(1, min(self._settings.batch, self._settings.max_pixels // (height * width)))

    def _fitting(self, first: Job) -> list[Job]:
        return [job for job in self._waiting if job.pixels.shape == first.pixels.shape][: self._room(first)]

    def _answer(self, jobs: list[Job]) -> None:
        """Analyse a batch. One that fails is tried again one by one, so that nobody suffers from another's photograph."""
        started = time.monotonic()
        try:
            responses = self._responses(jobs)
        except Exception as error:  # whatever a plugin raises, or a lack of memory: the next batch may do better
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:
                self._answer([job])
            return
        took = time.monotonic() - started
        for job, pixels in zip(jobs, responses):
            job.answer.set_result(Answer(pixels, started - job.came, took, len(jobs)))

    def _responses(self, jobs: list[Job]) -> list[np.ndarray]:
        with torch.no_grad():
            stego = torch.cat([from_bytes(job.pixels) for job in jobs])
            return [to_bytes(response) for response in self._analyze(stego).split(1)]
