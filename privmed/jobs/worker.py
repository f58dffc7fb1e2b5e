"""A worker of the engine ``processes``: opens a task, and does one unit after the other until nobody asks any more."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from privmed.errors import PrivmedError
from privmed.jobs.contracts import SHORT, LostItem, WorkerError, is_short_of_memory
from privmed.jobs.messages import receive, send

READY, DONE, FAILED, BROKEN = "ready", "done", "failed", "broken"


def main() -> None:
    """Be a worker on standard input and output; what a task prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, and it ends its workers
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    try:
        serve(asked, told)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the driver is gone, or wants no more


def serve(asked: IO[bytes], told: IO[bytes]) -> None:
    """Answer units until the pipe ends."""
    try:
        task, place = receive(asked)
        work = task.open(place)
    except EOFError:
        raise
    except Exception as error:
        send(told, (BROKEN, None, *spoken(error), 0.0))
        return
    send(told, (READY, None, None, None, 0.0))
    while True:
        number, payload = receive(asked)
        send(told, (*attempt(work, number, payload),))


def attempt(work: Callable[[Any], Any], number: int, payload: Any) -> tuple[str, int, Any, Any, float]:
    """Do one unit; whatever goes wrong is told."""
    start = time.perf_counter()
    try:
        value = work(payload)
    except Exception as error:
        return FAILED, number, *spoken(error), time.perf_counter() - start
    return DONE, number, value, None, time.perf_counter() - start


def spoken(error: Exception) -> tuple[PrivmedError, str]:
    """An error as one of privmed's own, which every process knows, and its traceback."""
    from privmed import errors

    details = "".join(traceback.format_exception(error))
    if is_short_of_memory(error):
        return LostItem(SHORT), details
    for kind in type(error).__mro__:
        known = getattr(errors, kind.__name__, None)
        if isinstance(error, PrivmedError) and known is kind:
            return kind(str(error)), details
    if isinstance(error, OSError):
        return errors.OutputError(f"{error.filename or 'a file'}: cannot be used ({error.strerror or error})."), details
    return WorkerError(f"unexpected {type(error).__name__} in a worker: {error}"), details


def _follow(parent: int) -> None:
    """End as soon as the driver is gone, whatever is being done: nothing may write into a folder that a later run has."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    sys.modules["privmed.jobs.worker"] = sys.modules["__main__"]
    main()
