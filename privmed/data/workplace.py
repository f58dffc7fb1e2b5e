"""Where the release of a data set keeps what is not to be published: files that are being written, and what a later run goes on with."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from privmed.errors import OutputError
from privmed.files import make_folder

DRAFTS = "drafts"


def work_of(out: Path) -> Path:
    """The hidden folder of an output folder: beside it, so that files can be moved in, and nothing is published that was not moved.

    It lies inside where that cannot be: in an output folder that is a file system of its own, or whose parent is read-only.
    """
    real = out.resolve()
    if real.is_dir() and (os.path.ismount(real) or not os.access(real.parent, os.W_OK)):
        return real / ".privmed-work"
    return real.with_name(f".{real.name}.privmed-work")


class Workplace:
    """The work folder of one output folder; made when it is first needed, gone when nothing is left in it.

    Args:
        out: the output folder.
        resume: whether what an earlier run left is gone on with.

    Raises:
        OutputError: when an earlier run left something, and it is not gone on with.
    """

    def __init__(self, out: Path, *, resume: bool) -> None:
        self.path = work_of(out)
        self._new = [p for p in (out.absolute(), *out.absolute().parents) if not os.path.lexists(p)]
        self.sweep()
        if self.path.is_dir() and any(self.path.iterdir()) and not resume:
            raise OutputError(
                f"{out}: an interrupted run left its state in {self.path}. Go on with --resume, or delete that folder."
            )

    def folder(self) -> Path:
        """The folder, for what a later run goes on with."""
        return make_folder(self.path)

    def drafts(self) -> Path:
        """The folder for what becomes part of the release."""
        return make_folder(self.path / DRAFTS)

    def draft(self, name: str) -> Path:
        """Where a file of that name is written before it is published."""
        return self.drafts() / name

    def sweep(self) -> None:
        """Remove what is half-written, whoever was stopped when writing it."""
        shutil.rmtree(self.path / DRAFTS, ignore_errors=True)

    def close(self) -> None:
        """Remove what is half-written, and every folder that was made and is empty."""
        self.sweep()
        for folder in (self.path, *self._new):
            with suppress(OSError):  # it is not empty, or was never made
                folder.rmdir()
