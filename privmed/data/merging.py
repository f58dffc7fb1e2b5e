"""Join what the shards of a release have written: their manifests become one, and masks and tables are copied."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from attrs import Factory, define

from privmed.data.exchange import files_of
from privmed.data.folders import ImageFolder, Item, may_be_dicom
from privmed.data.release import Release
from privmed.data.studies import StudyFolder, can_be_copied
from privmed.data.workplace import work_of
from privmed.errors import InputError
from privmed.jobs import Job
from privmed.jobs.job import digest_of
from privmed.jobs.log import NAME, read_log
from privmed.jobs.shards import Shard

SAME = ("job", "dataset", "about", "split", "limit", "suffix", "count", "ids")
WORDS = {
    "job": "other commands",
    "dataset": "other data sets",
    "about": "other settings",
    "split": "other --split",
    "limit": "other --limit",
}


@define
class Joined:
    """The shards of one output folder, held until :meth:`leave`.

    Attributes:
        header: what all their logs say.
        count: how many shards there are to be.
        absent: numbers of those that have left no log.
        lines: the manifest line of each image that is written.
        missing: images that no shard has reached.
        failed: images that could not be used, with the reason.
        doubled: images that two shards have written.
    """

    source: ImageFolder
    out: Path
    header: dict[str, Any]
    count: int
    absent: list[int]
    items: list[Item]
    names: dict[Path, str]
    parts: list[Release] = Factory(list)
    lines: dict[str, dict[str, Any]] = Factory(dict)
    missing: list[str] = Factory(list)
    failed: list[tuple[str, str]] = Factory(list)
    doubled: list[str] = Factory(list)

    def release(self, job: Job) -> Release:
        """The release of a job in the output folder."""
        return Release(
            self.source,
            self.out,
            self.header["about"],
            resume=True,
            names=self.names,
            job=job,
            beside=bool(self.header.get("suffix")),
            identities=self.identities,
        )

    @property
    def identities(self) -> bool:
        """Whether DICOM masks were written, and are not to be copied."""
        return self.header["job"] in ("protect", "watermark")

    def leave(self) -> None:
        """Let the shards be run again."""
        for part in self.parts:
            part.work.leave()

    def finish(self) -> None:
        """Make one release of them, equal to what a run without shards writes."""
        from privmed.data.judge import UNJUDGED

        more = {"judged": UNJUDGED} if self.header["job"] == "protect" else {}
        release = self.release(Job(self.header["job"]))
        with release:
            release.lines = self.lines
            release.finish(self.items, self.failed, **more)
        for part in self.parts:
            shutil.rmtree(part.work.path, ignore_errors=True)


def shards_of(out: Path) -> dict[Shard, Path]:
    """The work folders of the shards of an output folder."""
    found = {}
    for place in {work_of(out).parent, out}:
        for path in sorted(place.glob(".*.privmed-work")) if place.is_dir() else ():
            if (match := re.search(r"\.shard-(\d+)-of-(\d+)\.privmed-work$", path.name)) is not None:
                shard = Shard(int(match[1]), int(match[2]))
                if path == work_of(out, shard):
                    found[shard] = path
    return found


def join(out: Path, data: Path | None = None) -> Joined:
    """Find the shards of an output folder and hold them against each other.

    Args:
        out: the output folder.
        data: where the data set lies now; where it lay by default.

    Raises:
        InputError: when there are no shards, or they are not parts of one whole.
        OutputError: when one of them is still at work.
    """
    found = shards_of(out)
    headers = {shard: read_log(path / NAME)[0] for shard, path in found.items() if (path / NAME).is_file()}
    if not headers:
        raise InputError(f"{out}: has no shards; they are made with --shard.")
    check_same(out, headers)
    first, header = next(iter(headers.items()))
    source = StudyFolder(data or header["dataset"], lenient=True)
    every = source.marked() if header["job"] == "unlock" else source.items(header.get("split"))  # type: ignore[attr-defined]
    items, names = every[: header.get("limit")], {}
    if header["about"].get("copy_rest"):
        hidden = bool(header["about"].get("deidentified"))
        items += [other for other in source.rest() if can_be_copied(other, hidden)]  # type: ignore[misc]
    if header.get("suffix"):
        items, names = files_of(source, header["suffix"])
    if digest_of(names.get(item.image) or name_in(source, item) for item in items) != header["ids"]:
        raise InputError(
            f"{source.path}: holds other images than when the shards of {out} were made. Run all shards again with --resume."
        )
    absent = [n for n in range(1, first.count + 1) if Shard(n, first.count) not in headers]
    joined = Joined(source, out, header, first.count, absent, items, names)
    try:
        _collect(joined, headers, found)
    except BaseException:
        joined.leave()
        raise
    return joined


def _collect(joined: Joined, headers: dict[Shard, dict[str, Any]], found: dict[Shard, Path]) -> None:
    failed: dict[str, str] = {}
    left: set[str] = set()
    written: Counter[str] = Counter()
    for shard in headers:
        job = Job(joined.header["job"], shard=shard)
        part = joined.release(job)
        joined.parts.append(part)
        joined.lines |= part.lines
        written.update(part.lines.keys())
        states = read_log(found[shard] / NAME)[1].values()
        failed |= {line["id"]: line.get("reason", "") for line in states if line["state"] == "failed"}
        left |= {line["id"] for line in states if line["state"] == "left"}
    hidden_in = [line for line in joined.lines.values() if "cover" in line]
    covers = Counter(line.get("cover_sha256", line["cover"]) for line in hidden_in)
    if twice := [line["cover"] for line in hidden_in if covers[line.get("cover_sha256", line["cover"])] > 1]:
        raise InputError(
            f"{joined.out}: {twice[0]} was taken for two scans, as the shards found other photographs. Make them again in another folder."
        )
    names = [joined.names.get(item.image) or name_in(joined.source, item) for item in joined.items]
    joined.doubled = [name for name in names if written[name] > 1]
    joined.failed = [(name, failed[name]) for name in names if name in failed and name not in joined.lines]
    joined.missing = [name for name in names if name not in failed and name not in left and name not in joined.lines]
    if joined.identities:  # a shard that was killed before it came to its masks
        masks = (p for i, n in zip(joined.items, names) if n in joined.lines and i.mask for p in i.mask.files)
        dicom = {p.relative_to(joined.source.path).as_posix() for p in masks if may_be_dicom(p)}
        joined.missing += sorted(dicom - joined.lines.keys())


def check_same(out: Path, headers: dict[Shard, dict[str, Any]]) -> None:
    """Refuse shards that are no parts of one whole.

    Raises:
        InputError: naming what differs.
    """
    counts = sorted({shard.count for shard in headers})
    if len(counts) > 1:
        raise InputError(
            f"{out}: holds shards of {counts[0]} and of {counts[1]}, which do the same twice. Run one kind, in a folder of its own."
        )
    first = next(iter(headers.values()))
    for shard, header in headers.items():
        for name in SAME:
            if header.get(name) != first.get(name):
                raise InputError(
                    f"{out}: shard {shard} was made from {WORDS.get(name, 'other images')} than the others, so they are not one whole."
                )


def name_in(source: ImageFolder, item: Item) -> str:
    """What manifests and logs call an image."""
    return item.image.relative_to(source.path).as_posix()
