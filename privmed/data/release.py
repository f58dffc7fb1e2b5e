"""A published copy of a data set: a folder that mirrors another, with a manifest line for every image, and can be gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import Factory, define

from privmed.data.drafts import Function, Marked, copy, digest, marks_of
from privmed.data.folders import ImageFolder, Item, may_be_dicom, stem_of
from privmed.data.tables import TABLES, Table
from privmed.data.workplace import Workplace
from privmed.errors import InputError, OutputError, PrivmedError, SettingsError
from privmed.files import check_folder, folded, inside, local_name, make_folder, same_file, whole_file, writing
from privmed.jobs import Job, Task, Unit
from privmed.jobs.log import JobLog
from privmed.limits import read_text

Tick = Callable[..., None]
MANIFEST = "manifest.jsonl"
CHOICES = {"deidentified": "--deidentify", "identity": "--secret", "copy_rest": "--copy-rest"}
"""What a release says only where it was chosen, and the option that chooses it."""


@define
class Outcome:
    """What became of the images of a release."""

    written: list[dict[str, Any]] = Factory(list)
    kept: int = 0
    failed: list[tuple[str, str]] = Factory(list)


class Release:
    """The output folder of a data set; ``with Release(...) as release`` leaves no half-written file and no empty folder.

    Every file is written and checked in a :class:`work folder <privmed.data.workplace.Workplace>` and then moved in, after its line is in
    the manifest. So whenever a run is stopped, the output folder holds nothing but whole files that its manifest knows.

    Args:
        source: the data set.
        out: the folder to write; neither inside the data set nor around it.
        about: what was done (method, settings); the same for every line, and checked when going on.
        resume: go on with a folder that an interrupted run left.
        mark_of: what the manifest says of a source file; its SHA-256, unless that would help to guess what is secret.
        names: other names of images in the release than those they have in the data set.
        beside: put the manifest beside the folder (``out.jsonl``), and no mask or table into it.
        identities: its DICOM files say something else of who and what they are: no mask that may be DICOM is copied as it is.
        job: how the work is run. With a shard, ``out`` is shared with other shards, and the manifest stays in the work folder for
            ``privmed jobs merge``.

    Raises:
        OutputError: when the folder cannot be used.
        SettingsError: when it holds a release made in another way.
        InputError: when it holds a name that leads out of it.
    """

    def __init__(
        self,
        source: ImageFolder,
        out: str | Path,
        about: dict[str, Any],
        *,
        resume: bool = False,
        mark_of: Callable[[Path], str] | None = None,
        names: dict[Path, str] | None = None,
        job: Job | None = None,
        beside: bool = False,
        identities: bool = False,
    ) -> None:
        self.job = job or Job()
        self.mark_of, self.names = mark_of or digest, names or {}
        self._finished = False
        self.first: dict[str, str] = {}  # name of each file, by what some file systems take for the same name
        self.source, self.out, self.about = source, Path(out), json.loads(json.dumps(about))
        check_apart(source, self.out)
        check_folder(self.out)
        self.work = Workplace(self.out, resume=resume, shard=self.job.shard)
        self.beside, self.identities = beside, identities
        self.published = self.out.with_name(f"{self.out.name}.jsonl") if beside else self.out / MANIFEST
        self.manifest = self.work.path / MANIFEST if self.job.shard else self.published
        try:
            self._check_empty(resume)
            self.tables = [
                Table(path, bare=bool(about.get("deidentified")))
                for name in TABLES
                if not beside and (path := inside(source.path, name)).is_file()
            ]
            self.gone: list[dict[str, Any]] = []  # lines of files that were written once
            self.lines = {line["file"]: line for line in self._read()} if resume else {}
        except BaseException:
            self.work.leave()
            raise

    def __enter__(self) -> Release:
        make_folder(self.out)  # whether it can be made is known when it is; an empty one does not stay
        self.work.take()
        return self

    def __exit__(self, *_: object) -> None:
        if self.job.log is not None:
            self.job.log.close()
        if not self.job.shard and (self._finished or not self.lines):
            self.work.log.unlink(missing_ok=True)
        self.work.close()

    def _check_empty(self, resume: bool) -> None:
        there = set(self.out.iterdir()) - {self.work.path} if self.out.is_dir() else set()
        joined = self.published.exists()
        taken = joined if self.job.shard else bool(there) or joined
        if taken and (self.job.shard or not resume):
            how = "" if self.job.shard else ", or go on with --resume"
            what = f"{self.out}: is not empty" if there or not self.beside else f"{self.published}: is there already"
            raise OutputError(f"{what}. Choose another folder{how}.")

    def target(self, item: Item) -> Path:
        """Where the image goes: the same place and name.

        Raises:
            InputError: when that is outside the folder, an input, or a file that something else of the release is written to.
        """
        name = self.name(item)
        target, first = inside(self.out, name), self.first.setdefault(folded(name), name)
        if name in (MANIFEST, *TABLES) or (first != name and same_file(self.out / first, target)):
            other = first if first != name else "the table of that name"
            raise InputError(f"{item.image}: would be written over {other} in {self.out}. Rename it.")
        if same_file(target, item.image):
            raise InputError(f"{target}: is the input {item.image}, which must stay untouched. Choose another folder.")
        return target

    def name(self, item: Item) -> str:
        """What the manifest calls the image."""
        return self.names.get(item.image) or item.image.relative_to(self.source.path).as_posix()

    def is_done(self, item: Item) -> bool:
        """Whether an earlier run wrote this image, from the same source, and it is still whole."""
        line = self._line(item)
        if line is None or not item.image.is_file() or not (target := self.target(item)).is_file():
            return False
        return line["source_sha256"] == self.mark_of(item.image) and line["sha256"] == digest(target)

    def _line(self, item: Item) -> dict[str, Any] | None:
        """What the manifest says of an image; one that was only copied is not done, as it may be usable by now."""
        line = self.lines.get(self.name(item))
        return None if line is not None and "copied" in line and isinstance(item, Item) else line

    def draft(self, item: Item) -> Path:
        """Where the image is written before it is published.

        Raises:
            InputError: as :meth:`target`: what could not be published need not be made.
        """
        self.target(item)
        return self.work.draft(PurePosixPath(self.name(item)).name if self.beside else item.image.name)

    def add(self, item: Item, draft: Path, marks: tuple[str, str] | None = None, **figures: Any) -> dict[str, Any]:
        """Publish a written image: put a line into the manifest, on disk, and then the file in its place.

        Args:
            item: the image.
            draft: the written file.
            marks: what :func:`marks_of` says of the two, where a worker has asked it already.
            figures: what the manifest says besides.
        """
        source, written = marks or marks_of(item, draft, self.mark_of)
        line = {"file": self.name(item), "source_sha256": source, "sha256": written, **figures, **self.about}
        target = self.target(item)
        make_folder(target.parent)
        with writing(self.manifest), self.manifest.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with writing(target):
            os.replace(draft, target)
        self.work.drop(draft)
        self.job.note(line["file"], "done")
        self.lines[line["file"]] = line
        return line

    def withdraw(self, name: str) -> None:
        """Take a file out again that :meth:`add` put in; without it, its line counts for nothing."""
        if self.lines.pop(name, None) is not None:
            path = inside(self.out, name)
            with writing(path):
                path.unlink(missing_ok=True)
                if not self.lines:
                    self.manifest.unlink(missing_ok=True)
            with suppress(OSError):  # other files are in it
                for folder in (f for f in path.parents if self.out in f.parents or f == self.out):
                    folder.rmdir()

    def run(
        self, items: list[Item], change: Task | Callable[[Item, Path], dict], tick: Tick = lambda *_: None
    ) -> Outcome:
        """Change images, one or several at a time. What cannot be used is named and left out.

        Args:
            items: what to write.
            change: a task; its work on ``(item, draft)`` writes the image and returns the figures of the written file. For the engine
                ``local`` also a function ``change(item, draft)``.
            tick: called after each image with how many are done, and of how many.
        """
        outcome, done = Outcome(), 0
        order = {self.name(item): n for n, item in enumerate(items)}

        def count() -> None:
            nonlocal done
            done += 1
            tick(done, len(items))

        def units() -> Iterator[Unit]:
            for item in items:
                if self.is_kept(item):
                    outcome.kept += 1
                    count()
                    continue
                try:
                    draft = self.draft(item)
                except InputError as error:
                    self.job.fail(self.name(item), error)
                    count()
                else:
                    yield Unit(self.name(item), (item, draft))

        def publish(unit: Unit, value: tuple[dict[str, Any], tuple[str, str]]) -> None:
            outcome.written.append(self.add(*unit.payload, value[1], **value[0]))

        def fail(unit: Unit, error: PrivmedError) -> None:
            self.work.drop(unit.payload[1])
            self.job.fail(unit.id, error)

        self.begin_log()
        task = change if hasattr(change, "open") else Function(change)
        self.job.run(Marked(task, self.mark_of), units(), publish, tick=count, failed=fail)
        outcome.failed = sorted(self.job.failed, key=lambda pair: order[pair[0]])
        return outcome

    def preview(self, items: list[Item]) -> tuple[int, list[str]]:
        """How many of the images are written already, and the names of those that :meth:`run` would write; nothing is changed."""
        todo = [self.name(item) for item in items if not self.is_kept(item)]
        self.work.close()
        return len(items) - len(todo), todo

    def is_kept(self, item: Item) -> bool:
        """As :meth:`is_done`; with ``--retry-failed`` the manifest is believed, and nothing is read again."""
        if self.job.retry_failed:
            return self._line(item) is not None and item.image.is_file()
        return self.is_done(item)

    def begin_log(self) -> None:
        """Have the job keep a log beside the drafts."""
        about = {"dataset": str(self.source.path.absolute()), "about": self.about}
        self.job.log = JobLog(self.work.log, {"job": self.job.name, **about, **self.job.about})
        if self.job.shard:  # whoever joins the shards goes by its header
            self.job.log.begin()

    def finish(self, items: list[Item], failed: list[tuple[str, str]], **more: Any) -> None:
        """Copy masks and tables of what was written, and put the manifest in order. A table loses the rows of what was left out.

        Args:
            items: what was to be written.
            failed: names and reasons of what was left out.
            more: what every line says besides, which may change from run to run.
        """
        self._finished = not failed
        if not self.lines:
            return
        left_out = {name for name, _ in failed}
        # what belongs to all images comes when all shards are there
        for item in () if self.job.shard or self.beside else items:
            if item.mask is not None and not item.mask.missing and self.name(item) not in left_out:
                for path in item.mask.files:
                    name = path.relative_to(self.source.path).as_posix()
                    if name not in self.lines and not (self.identities and may_be_dicom(path)):
                        copy(path, inside(self.out, name), self.work.drafts())
        published = {name for name in self.lines if name not in left_out}
        there = {(self.source.root / name).relative_to(self.source.path).as_posix() for name in self.source.names()}
        absent = {n for name in {*map(self.name, items), *there} - published for n in self._known_as(name)}
        for table in self.tables if not self.job.shard else ():
            table.copy(inside(self.out, table.path.name), absent, self.work.drafts())
        for line in self.lines.values():
            line.update(more)
        lines = sorted(
            (line for name, line in self.lines.items() if name not in left_out), key=lambda line: line["file"]
        )
        with whole_file(self.manifest, overwrite=True, work=self.work.drafts()) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _known_as(self, name: str) -> set[str]:
        """What tables may call an image: its place in images/ or in the set, or its name without the ending."""
        inner = name.removeprefix(f"{self.source.root.name}/") if self.source.root != self.source.path else name
        return {inner, name, stem_of(inner)}

    def _read(self) -> Iterator[dict[str, Any]]:
        path = inside(self.manifest.parent, self.manifest.name)
        for text in read_text(path, "table_bytes").splitlines() if path.is_file() else []:
            try:
                line = json.loads(text)
                _ = line["file"], line["source_sha256"], line["sha256"]
            except (ValueError, KeyError, TypeError):
                continue  # cut off by the interruption: that image is done again
            local_name(line["file"], path)
            about = {**dict.fromkeys(CHOICES), **self.about}
            other = next((k for k, v in about.items() if line.get(k) != v), None)
            if other is not None:
                begun = f"with {other} {line.get(other)!r}, now it is {about[other]!r}"
                if other in CHOICES:
                    begun = f"{'with' if about[other] is None else 'without'} {CHOICES[other]}"
                    begun = begun if None in (about[other], line.get(other)) else f"with another {CHOICES[other]}"
                raise SettingsError(
                    f"{self.out}: was begun {begun}. Go on with the same settings, or choose another folder."
                )
            if (self.out / line["file"]).is_file():  # it has its line before it is moved in
                yield line
            else:
                self.gone.append(line)


def check_apart(source: ImageFolder, out: Path) -> None:
    """Refuse to write into a data set, or around it.

    Raises:
        OutputError: when one folder lies in the other.
    """
    for folder in source.folders:
        a, b = folder.resolve(), out.resolve()
        if a == b or a in b.parents or b in a.parents:
            raise OutputError(
                f"{out}: lies in {folder} or around it, and its originals must stay untouched. Choose another folder."
            )
