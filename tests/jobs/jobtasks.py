"""Tasks of the tests, which workers import by this name."""

import os
import signal
import time

from attrs import frozen

from privmed.errors import InputError, OutputError
from privmed.jobs import seed_of


@frozen
class Square:
    """Squares numbers; some payloads are accidents."""

    broken: str = ""

    def open(self, place):
        if self.broken == "start":
            os._exit(3)
        if self.broken.startswith("/") and not os.path.exists(self.broken):
            open(self.broken, "w").close()
            os._exit(3)
        if self.broken == "settings":
            raise OutputError("nowhere to write to.")
        return work


def work(n):
    print("what a task prints is no message")
    if n == "input":
        raise InputError("a.png: is no picture.")
    if n == "memory":
        raise MemoryError
    if n == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if n == "bug":
        raise ZeroDivisionError("a bug")
    if n == "full":
        raise OSError(28, "No space left on device", "out.png")
    if n == "pid":
        time.sleep(0.2)
        return os.getpid()
    if n == "threads":
        import torch

        return torch.get_num_threads()
    return n * n, seed_of(7, str(n))
