"""Watermark a data set on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from privmed.data.folders import ImageFolder, Item
from privmed.data.marking import CLASSES, WHERE, Made, Marked, Marker, Marking, Models, SecretMark, Target
from privmed.data.release import Outcome, Release, Tick
from privmed.errors import InputError, PrivmedError, VerificationError
from privmed.jobs import Unit
from privmed.keyfile import KeyWriter

__all__ = ["WHERE", "Marking", "Models", "SecretMark", "labels_of", "watermark_set"]


def labels_of(source: ImageFolder, items: Sequence[Item]) -> dict[Path, str]:
    """The class of each image that has one: what ``labels.csv`` (``file,label``) says, or else its sub-folder.

    Raises:
        InputError: when no image has one, or the table cannot be read.
    """
    table = source.table("labels.csv", "label")
    found = {i.image: table.get(i.image.relative_to(source.root).as_posix()) or i.label for i in items}
    if items and not any(found.values()):
        raise InputError(f"data set {source.path}: no image has a class. {CLASSES}")
    return {image: label for image, label in found.items() if label}


def groups_of(items: Sequence[Item], together: int) -> list[list[Item]]:
    """The images that are searched together; the same in every run, as what shares a batch may move the last bits of a figure."""
    return [list(items[start : start + together]) for start in range(0, len(items), together)]


def watermark_set(
    release: Release,
    groups: list[list[Item]],
    marker: Marker,
    writer: KeyWriter,
    known: dict[str, dict[str, Any]],
    tick: Tick = lambda *_: None,
) -> Outcome:
    """Mark images group by group. The key grows before the image it belongs to is published.

    Args:
        release: the output folder.
        groups: what to mark, see :func:`groups_of`. The same groups give the same marks, whether the run is interrupted or not.
        marker: how.
        writer: the key.
        known: the last entry of each file that an interrupted run left in the key. What it says is drawn again rather than searched
            anew, so that no image is published with a mark that the key does not know.
        tick: told how far it is.

    Returns:
        What was written, a line for each image with figures that only its owner should see; what was kept; and what failed.
    """
    items = [item for group in groups for item in group]
    outcome, job, done = Outcome(), release.job, 0
    labels = labels_of(release.source, items) if marker.marking.oracle else {}
    order = {release.name(item): n for n, item in enumerate(items)}

    def count(number: int) -> None:
        nonlocal done
        done += number
        tick(done, len(items))

    def units() -> Iterator[Unit]:
        for group in groups:
            if all(release.is_kept(item) and release.name(item) in known for item in group):
                outcome.kept += len(group)
                count(len(group))
                continue
            targets = []
            for item in group:
                try:
                    name, draft = release.name(item), release.draft(item)
                except InputError as error:
                    job.fail(release.name(item), error)
                    count(1)
                else:
                    targets.append(Target(item, name, labels.get(item.image), draft, known.get(name)))
            if targets:
                yield Unit(targets[0].name, targets)

    def publish(unit: Unit, made: list[Made]) -> None:
        for target, one in zip(unit.payload, made):
            try:
                if isinstance(one, Exception):
                    raise one
                _publish(target, one, release, writer, known)
                outcome.written.append(known[target.name])
            except (InputError, VerificationError) as error:
                fail(target, error)
        count(len(unit.payload))

    def fail(target: Target, error: PrivmedError) -> None:
        release.work.drop(target.draft)
        job.fail(target.name, error)

    def lost(unit: Unit, error: PrivmedError) -> None:
        for target in unit.payload:
            fail(target, type(error)(str(error).replace(unit.id, target.name, 1)))
        count(len(unit.payload))

    release.begin_log()
    job.run(marker, units(), publish, failed=lost)
    outcome.failed = sorted(job.failed, key=lambda pair: order[pair[0]])
    return outcome


def _publish(
    target: Target, one: Marked, release: Release, writer: KeyWriter, known: dict[str, dict[str, Any]]
) -> None:
    """Put the entry of an image into the key, and then the image into the release."""
    if not one.known:
        writer.add(one.entry)
    release.add(target.item, target.draft, one.marks, **one.notes)
    entry = {"file": target.name, "figures": one.entry["figures"]}
    known[target.name] = entry | {"record": {"original": one.entry["record"]["original"]}}
