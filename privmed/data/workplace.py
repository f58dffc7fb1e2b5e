"""Where the release of a data set keeps what is not to be published: files that are being written, and what a later run goes on with."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from privmed.errors import OutputError
from privmed.files import make_folder
from privmed.jobs.lock import FolderLock
from privmed.jobs.log import NAME as LOG
from privmed.jobs.shards import Shard

DRAFTS = "drafts"


def work_of(out: Path, shard: Shard | None = None) -> Path:
    """The hidden folder of an output folder: beside it, so that files can be moved in, and nothing is published that was not moved.

    It lies inside where that cannot be: in an output folder that is a file system of its own, or whose parent is read-only.
    """
    real, part = out.resolve(), f".{shard.word}" if shard else ""
    if real.is_dir() and (os.path.ismount(real) or not os.access(real.parent, os.W_OK)):
        return real / f"{part}.privmed-work"
    return real.with_name(f".{real.name}{part}.privmed-work")


class Workplace:
    """The work folder of one output folder, or of one shard of it; made when it is first needed, gone when nothing is left in it.

    One run at a time has it. The log of a run that has left nothing else there stands in nobody's way.

    Args:
        out: the output folder.
        resume: whether what an earlier run left is gone on with.
        shard: whose part of the work this is.

    Raises:
        OutputError: when an earlier run left something, and it is not gone on with; or when another run is at work.
    """

    def __init__(self, out: Path, *, resume: bool, shard: Shard | None = None) -> None:
        self.path, self.log = work_of(out, shard), work_of(out, shard) / LOG
        self._new = [p for p in (out.absolute(), *out.absolute().parents) if not os.path.lexists(p)]
        self._lock = FolderLock(self.path, out)
        self._run, self._drafts = secrets.token_hex(4), 0
        self._lock.take(make=False)
        self.sweep()
        left = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
        if (left - {LOG} or (left and shard)) and not resume:
            self._lock.release()
            raise OutputError(
                f"{out}: an interrupted run left its state in {self.path}. Go on with --resume, or delete that folder."
            )
        if left and not resume:
            self.log.unlink()

    def take(self) -> None:
        """Make the folder, and have it alone until :meth:`close`.

        Raises:
            OutputError: when another run is at work.
        """
        self._lock.take(make=True)

    def leave(self) -> None:
        """Let other runs have it, as it is."""
        self._lock.release()

    def folder(self) -> Path:
        """The folder, for what a later run goes on with."""
        self.take()
        return make_folder(self.path)

    def drafts(self) -> Path:
        """The folder for what becomes part of the release."""
        return make_folder(self.folder() / DRAFTS)

    def draft(self, name: str) -> Path:
        """Where a file of that name is written before it is published: a folder for itself, which no other run has had."""
        self._drafts += 1
        return make_folder(self.drafts() / f"{self._run}-{self._drafts}") / name

    def drop(self, draft: Path) -> None:
        """Remove what is left of a draft."""
        shutil.rmtree(draft.parent, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what is half-written, whoever was stopped when writing it."""
        shutil.rmtree(self.path / DRAFTS, ignore_errors=True)

    def close(self) -> None:
        """Remove what is half-written, and every folder that was made and is empty."""
        self.sweep()
        for folder in (self.path, *self._new):
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()
        self._lock.release()
