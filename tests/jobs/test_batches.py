"""Units in batches: each is answered, in its own words, whoever shares its batch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from privmed import registry
from privmed.cli import run
from privmed.covert.files import Analysing
from privmed.errors import InputError
from privmed.jobs import LostItem, Unit
from privmed.jobs.batches import Batched
from privmed.jobs.contracts import Place
from privmed.jobs.local import Local
from privmed.jobs.pool import Processes

SIZES = [(48, 64), (32, 32), (48, 64), (48, 64), (32, 32)]


class Sums:
    """Adds the length of its batch to each payload; odd ones are wrong."""

    def open(self, place):
        return lambda payload: payload

    def open_batches(self, place):
        return lambda payloads: [InputError(f"{n} is odd.") if n % 2 else n + len(payloads) for n in payloads]


def test_batches_are_as_large_as_asked_for_and_what_is_wrong_costs_itself():
    units = [Unit(str(n), n) for n in (0, 2, 3, 4, 6, 8, 10)]
    results = list(Batched(Local(), 3).run(Sums(), iter(units)))
    assert [r.unit for r in results] == units
    assert [r.value for r in results] == [3, 5, None, 7, 9, 11, 11]
    assert [r.unit.id for r in results if r.error] == ["3"]
    assert list(Batched(Local(), 3).run(Sums(), [])) == []


def test_a_task_that_takes_no_batches_does_one_after_the_other(tasks):
    units = [Unit(str(n), n) for n in (1, "input", 3)]
    results = list(Batched(Local(), 2).run(tasks.Square(), units))
    assert [r.value and r.value[0] for r in results] == [1, None, 9]
    assert isinstance(results[1].error, InputError)


def test_a_worker_that_dies_costs_its_batch(tasks):
    units = [Unit(str(n), n) for n in (1, 2, "die", 4, 5, 6)]
    found = {r.unit.id: r for r in Batched(Processes(1), 2).run(tasks.Square(), units)}
    assert {id_ for id_, r in found.items() if isinstance(r.error, LostItem)} == {"die", "4"}
    assert str(found["4"].error).startswith("4: its worker ended")
    assert [found[n].value[0] for n in "1256"] == [1, 4, 25, 36]


@pytest.fixture
def photographs(tmp_path):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    rng = np.random.default_rng(0)
    (tmp_path / "stegos").mkdir()
    for n, (height, width) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"stegos/{n}.png")
    (tmp_path / "stegos/9.png").write_bytes(b"no picture")
    return tmp_path


@pytest.mark.parametrize("engine", [[], ["--workers", "2"]])
def test_a_folder_in_batches_is_answered_as_one_by_one(photographs, engine, capsys):
    analyze = ["analyze", str(photographs / "stegos"), "-q", "-o"]
    assert run([*analyze, str(photographs / "one")]) == 1
    assert run([*analyze, str(photographs / "batches"), "--batch", "2", *engine]) == 1
    names = sorted(p.name for p in (photographs / "one").iterdir())
    assert (
        names == [f"{n}.png" for n in range(len(SIZES))] == sorted(p.name for p in (photographs / "batches").iterdir())
    )
    for name in names:
        one, batch = (np.asarray(Image.open(photographs / where / name), int) for where in ("one", "batches"))
        assert np.abs(one - batch).max() <= 1
    one, batch = ((photographs / f"{where}.jsonl").read_text() for where in ("one", "batches"))
    assert [line.split('"sha256"')[0] for line in one.splitlines()] == [
        line.split('"sha256"')[0] for line in batch.splitlines()
    ]


def test_images_of_one_size_go_through_the_network_together(photographs, monkeypatch):
    method, seen = registry.create("analyzer", "hidemia"), []
    analyze = type(method).analyze
    monkeypatch.setattr(
        type(method), "analyze", lambda self, x, **how: (seen.append(tuple(x.shape)), analyze(self, x, **how))[1]
    )
    units = [(f"{n}", photographs / f"stegos/{n}.png", photographs / f"{n}.png") for n in (*range(len(SIZES)), 9)]
    made = Analysing(method=method).open_batches(Place())(units)
    assert sorted(seen) == [(2, 3, 32, 32), (3, 3, 48, 64)]
    assert [isinstance(m, InputError) for m in made] == [False] * 5 + [True]
    assert all(output.is_file() == (name != "9") for name, _, output in units)


def test_a_batch_that_fails_is_done_one_by_one(photographs, monkeypatch):
    method = registry.create("analyzer", "hidemia")
    analyze = type(method).analyze

    def short(self, stego, **how):
        if len(stego) > 1:
            raise MemoryError
        return analyze(self, stego, **how)

    monkeypatch.setattr(type(method), "analyze", short)
    units = [(f"{n}", photographs / f"stegos/{n}.png", photographs / f"{n}.png") for n in range(len(SIZES))]
    made = Analysing(method=method).open_batches(Place())(units)
    assert all("response_psnr" in figures for figures in made)


def test_batches_are_for_folders(photographs, capsys):
    one = str(photographs / "stegos/0.png")
    assert run(["analyze", one, "-o", str(photographs / "r.png"), "--batch", "2"]) == 2
    assert "--batch" in capsys.readouterr().err
