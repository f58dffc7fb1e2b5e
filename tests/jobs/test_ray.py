"""Ray, started on this machine for the tests: the same values; an actor that dies costs its unit."""

from __future__ import annotations

import os

import pytest

from privmed.jobs import Unit
from privmed.jobs.contracts import LostItem, WorkerError
from privmed.jobs.engines import make_executor
from privmed.jobs.local import Local

ray = pytest.importorskip("ray", reason="needs privmed[ray]")
pytestmark = pytest.mark.slow


def units(*payloads):
    return [Unit(f"{n}:{p}", p) for n, p in enumerate(payloads)]


def by_id(results):
    return {r.unit.id: r.value if r.error is None else r.error for r in results}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_actors_give_what_one_process_gives_and_are_no_more_than_processors(tasks):
    pool = make_executor("ray", "64")
    assert by_id(pool.run(tasks.Square(), units(*range(20)))) == by_id(Local().run(tasks.Square(), units(*range(20))))
    assert pool.workers == 2
    assert len(set(by_id(pool.run(tasks.Square(), units(*["pid"] * 8))).values())) <= 2


def test_an_actor_that_is_killed_costs_its_unit(tasks):
    found = by_id(make_executor("ray", "2").run(tasks.Square(), units(0, "die", 2, "input", *range(4, 12))))
    assert isinstance(found["1:die"], LostItem)
    assert "its actor ended" in str(found["1:die"])
    assert "is no picture" in str(found["3:input"])
    assert {k for k, v in found.items() if isinstance(v, tuple)} == {"0:0", "2:2", *(f"{n}:{n}" for n in range(4, 12))}


def test_a_bug_ends_the_job(tasks):
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        list(make_executor("ray", "2").run(tasks.Square(), units("bug")))
