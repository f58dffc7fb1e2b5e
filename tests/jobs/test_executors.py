"""Executors give the same values, whatever they run on; what goes wrong costs one item."""

from __future__ import annotations

import os
import threading

import pytest

from privmed.errors import OutputError
from privmed.jobs import Job, Unit
from privmed.jobs.contracts import JobError, LostItem, WorkerError
from privmed.jobs.engines import make_executor
from privmed.jobs.local import Local
from privmed.jobs.pool import Processes, cores


def units(*payloads):
    return [Unit(f"{n}:{p}", p) for n, p in enumerate(payloads)]


def by_id(results):
    return {r.unit.id: r.value if r.error is None else r.error for r in results}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_values_do_not_depend_on_workers(tasks, workers):
    """Seeds of items included."""
    work = units(*range(20))
    expected = by_id(Local().run(tasks.Square(), work))
    found = by_id(Processes(workers).run(tasks.Square(), work))
    assert found == expected
    assert len({value[1] for value in expected.values()}) == 20


def test_no_unit_means_no_worker(tasks):
    assert list(Processes(2).run(tasks.Square("start"), [])) == []


def test_workers_are_processes_of_their_own_and_all_of_them_work(tasks):
    found = set(by_id(Processes(2).run(tasks.Square(), units(*["pid"] * 8))).values())
    assert len(found) == 2
    assert os.getpid() not in found


def test_threads_do_not_depend_on_the_number_of_workers(tasks, monkeypatch):
    """They may move the last bits of what a network computes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [Processes(n).threads for n in (1, 2, 64)] == [1, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [Processes(n).threads for n in (1, 2, 64)] == [2, 2, 2]
    assert make_executor("processes", "auto").workers == max(1, cores() // 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert make_executor("processes", "auto").workers == cores()
    assert list(by_id(Processes(1).run(tasks.Square(), units("threads"))).values()) == [1]


@pytest.mark.parametrize(
    ("accident", "words"),
    [
        ("input", "a.png: is no picture."),
        ("memory", "3:memory: there was not enough memory for it"),
        ("die", "3:die: its worker ended before it was done (killed"),
    ],
)
def test_an_accident_costs_its_item_only(tasks, accident, words):
    work = units(0, 1, 2, accident, *range(4, 20))
    found = by_id(Processes(2).run(tasks.Square(), work))
    wrong = found.pop(f"3:{accident}")
    assert str(wrong).startswith(words)
    assert isinstance(wrong, LostItem) == (accident != "input")
    assert found == by_id(Local().run(tasks.Square(), [u for u in work if u.payload != accident]))


def test_what_waits_at_a_worker_that_dies_is_done_by_another(tasks):
    work = units(*["die", 1] * 3)
    found = by_id(Processes(1).run(tasks.Square(), work))
    assert [isinstance(v, LostItem) for v in found.values()].count(True) == 3
    assert len(found) == 6


def test_a_worker_that_dies_at_its_start_is_tried_once_more(tasks, tmp_path):
    assert len(by_id(Processes(1).run(tasks.Square(str(tmp_path / "mark")), units(1, 2)))) == 2
    with pytest.raises(JobError, match=r"workers end before they can begin \(exit code 3\)"):
        list(Processes(2).run(tasks.Square("start"), units(1, 2)))


def test_an_error_that_is_not_of_one_item_ends_the_job(tasks):
    with pytest.raises(OutputError, match="nowhere to write to"):
        list(Processes(1).run(tasks.Square("settings"), units(1)))
    with pytest.raises(OutputError, match=r"out\.png: cannot be used \(No space left"):
        list(Processes(1).run(tasks.Square(), units("full")))
    with pytest.raises(WorkerError, match="unexpected ZeroDivisionError in a worker: a bug") as caught:
        list(Processes(1).run(tasks.Square(), units("bug")))
    assert "in work" in caught.value.details


def test_closing_early_leaves_no_process_and_no_thread(tasks):
    before = set(threading.enumerate())
    results = Processes(2).run(tasks.Square(), units(*["pid"] * 100))
    pids = {next(results).value for _ in range(4)}
    results.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


def test_units_are_drawn_as_they_are_needed(tasks):
    drawn = []

    def endless():
        for n in range(10_000):
            drawn.append(n)
            yield Unit(str(n), n)

    results = Processes(2).run(tasks.Square(), endless())
    next(results)
    results.close()
    assert len(drawn) < 20


def test_a_job_counts_failures_and_ends_at_too_many(tasks):
    job, got = Job(max_failures=1), []
    with pytest.raises(JobError, match=r"2 items failed, more than --max-failures 1; the first is 1:input: a\.png"):
        job.run(tasks.Square(), units(0, "input", 2, "input", 4), lambda unit, value: got.append(unit.id))
    assert got == ["0:0", "2:2"]
    assert [id_ for id_, _ in job.failed] == ["1:input", "3:input"]
