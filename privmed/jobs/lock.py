"""A folder that one run has to itself; the lock ends with its process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from privmed.errors import OutputError
from privmed.files import make_folder

try:
    import fcntl
except ImportError:  # Windows: two runs are not kept apart there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(folder: Path, waiting: Callable[..., None] = lambda: None) -> Iterator[None]:
    """Wait until no other process is in such a block for this folder, which is there; ``waiting`` is called before."""
    if fcntl is None:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextmanager
def owned(folder: Path, *, make: bool = True) -> Iterator[None]:
    """Have a folder to oneself; one that is not there is made, or (``make`` off) not locked.

    Raises:
        OutputError: when another run has it.
    """
    lock = FolderLock(folder, folder)
    lock.take(make=make)
    try:
        yield
    finally:
        lock.release()


class FolderLock:
    """The lock of one folder, taken with :meth:`take`."""

    def __init__(self, folder: Path, what: Path) -> None:
        self.folder, self.what = folder, what
        self._held: int | None = None

    def take(self, *, make: bool) -> None:
        """Lock the folder; one that is not there is made, or (``make`` off) not locked.

        Raises:
            OutputError: when another run has it.
        """
        while self._held is None and (make or self.folder.is_dir()):
            if make:
                make_folder(self.folder)
            if fcntl is None:
                return
            try:
                held = os.open(self.folder, os.O_RDONLY)
            except FileNotFoundError:
                continue  # the other run removed it meanwhile
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                same = os.path.samestat(os.fstat(held), os.stat(self.folder))
            except FileNotFoundError:
                same = False
            except BlockingIOError as error:
                os.close(held)
                raise OutputError(f"{self.what}: another run is writing into it. Wait for it, or end it.") from error
            except OSError:  # a file system without locks
                os.close(held)
                return
            if same:
                self._held = held
            else:
                os.close(held)

    def release(self) -> None:
        """Give the folder back."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
