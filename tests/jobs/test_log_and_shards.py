"""Run logs survive what happens to files; shards part the work without loss."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from privmed.errors import InputError, OutputError, SettingsError
from privmed.jobs.lock import FolderLock
from privmed.jobs.log import JobLog, read_log
from privmed.jobs.shards import Shard, commands, read_shard

HEADER = {"job": "test"}


def written(path, lines):
    log = JobLog(path, HEADER)
    for id_ in lines:
        log.add(id=id_, state="done")
    log.close()


def test_a_log_cut_anywhere_loses_no_more_than_its_last_line(tmp_path):
    path = tmp_path / "run.jsonl"
    written(path, "abc")
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        ends = whole[:cut].count(b"\n") - 1
        assert list(read_log(path)[1]) == list("abc")[:ends]
        written(path, "xyz")  # goes on with it
        header, lines = read_log(path)
        assert header == HEADER
        assert list(lines) == [*"abc"[:ends], *"xyz"]


def test_a_log_cut_in_its_header_is_begun_anew(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"jo')
    written(path, "a")
    assert read_log(path) == (HEADER, {"a": {"id": "a", "state": "done"}})


def test_the_end_of_a_long_log_is_found(tmp_path):
    path = tmp_path / "run.jsonl"
    written(path, [str(n) * 50 for n in range(3000)])
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"id": "' + b"x" * 100_000)
    written(path, "b")
    assert path.stat().st_size < size + 100
    assert len(read_log(path)[1]) == 3001


def test_a_full_disk_leaves_a_whole_log(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    log = JobLog(path, HEADER)
    log.add(id="a", state="done")

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(data) < 30:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:20])

        def __getattr__(self, name):
            return getattr(self.file, name)

    before, log._file = path.read_bytes(), Full(log._file)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left"):
        log.add(id="b", state="done")
    assert path.read_bytes() == before


def test_what_is_no_log_is_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    for content in ("", "text\n", "{}\n", '{"job": "a"}\n{"id": 3}\n', '{"job": "a"}\nnonsense\n{"id": "a"}\n'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"run\.jsonl"):
            read_log(path)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_part_the_work(count):
    units = list(range(20))
    parts = [Shard(n, count).of(units) for n in range(1, count + 1)]
    assert sorted(unit for part in parts for unit in part) == units
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_read_from_its_option_or_from_the_array_job():
    assert read_shard("3/8", {}) == Shard(3, 8)
    assert read_shard("8", {}) == 8
    assert read_shard("8", {"SLURM_ARRAY_TASK_ID": "3"}) == Shard(3, 8)
    assert read_shard("8", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "0"}) == Shard(4, 8)
    assert read_shard("8", {"JOB_COMPLETION_INDEX": "7"}) == Shard(8, 8)
    assert read_shard("3/8", {"SLURM_ARRAY_TASK_ID": "5"}) == Shard(3, 8)
    for text in ("0/8", "9/8", "0", "x", "-1/8", "3/", "1/2/3", ""):
        with pytest.raises(SettingsError, match="expected a part of the whole"):
            read_shard(text, {})
    with pytest.raises(SettingsError, match="task 9 of the array"):
        read_shard("8", {"SLURM_ARRAY_TASK_ID": "9"})


@pytest.mark.parametrize("given", [["--shard", "2"], ["--shard=2"]])
def test_the_command_of_every_shard(given):
    found = commands(["protect", "my set", *given, "-o", "out"], 2)
    assert found == [f"privmed protect 'my set' -o out --shard {n}/2" for n in (1, 2)]


def hold(folder, held):
    lock = FolderLock(folder, folder)
    lock.take(make=True)
    held.send(True)
    signal.pause()


def test_a_folder_is_for_one_run_and_free_when_that_is_killed(tmp_path):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path / "work", theirs))
    process.start()
    assert ours.recv()
    for make in (True, False):
        with pytest.raises(OutputError, match="another run is writing into it"):
            FolderLock(tmp_path / "work", tmp_path / "out").take(make=make)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lock = FolderLock(tmp_path / "work", tmp_path / "out")
    lock.take(make=False)
    with pytest.raises(OutputError, match="another run"):
        FolderLock(tmp_path / "work", tmp_path / "out").take(make=True)
    lock.release()
    FolderLock(tmp_path / "none", tmp_path / "out").take(make=False)
    assert not (tmp_path / "none").exists()
