"""Files that a release publishes, from the task that drafts them to the digest in the manifest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from privmed.data.folders import Item
from privmed.errors import PrivmedError
from privmed.files import make_folder, whole_file
from privmed.jobs import Task
from privmed.jobs.batches import batches_of
from privmed.jobs.contracts import Place
from privmed.limits import read_bytes

Change = Callable[[tuple[Item, Path]], dict[str, Any]]


@frozen
class Function:
    """A function ``change(item, draft)`` as a task of the engine ``local``."""

    change: Callable[[Item, Path], dict[str, Any]]

    def open(self, place: Place) -> Change:
        """The work."""
        return lambda payload: self.change(*payload)


@frozen
class Marked:
    """A task that writes drafts, and the digests of source and draft with its figures: the driver need not read them then."""

    task: Task
    mark_of: Callable[[Path], str]

    def open(self, place: Place) -> Callable[[tuple[Item, Path]], tuple[dict[str, Any], tuple[str, str]]]:
        """The work."""
        change = self.task.open(place)
        return lambda payload: (change(payload), marks_of(*payload, self.mark_of))

    def open_batches(self, place: Place) -> Callable[[list[tuple[Item, Path]]], list[Any]]:
        """The work on batches."""
        change = batches_of(self.task, place)

        def do(payloads: list[tuple[Item, Path]]) -> list[Any]:
            made = zip(payloads, change(payloads), strict=True)
            return [v if isinstance(v, PrivmedError) else (v, marks_of(*payload, self.mark_of)) for payload, v in made]

        return do


def marks_of(item: Item, draft: Path, mark_of: Callable[[Path], str]) -> tuple[str, str]:
    """What the manifest says of a source file, and the sha256 of what was written."""
    return mark_of(item.image), digest(draft)


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def copy(path: Path, target: Path, work: Path) -> None:
    """Copy a file byte for byte, whole or not at all (``work`` is for the temporary one); one that is equal already is left."""
    if target.is_file() and digest(target) == digest(path):
        return
    make_folder(target.parent)
    with whole_file(target, overwrite=True, work=work) as temporary:
        shutil.copyfile(path, temporary)
