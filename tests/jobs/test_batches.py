"""Units in batches: each is answered, in its own words, whoever shares its batch."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import Hider, registry
from privmed.cli import run
from privmed.covert import files
from privmed.covert.files import Analysing, Hiding
from privmed.errors import InputError, VerificationError
from privmed.jobs import LostItem, Unit
from privmed.jobs.batches import Batched, in_groups
from privmed.jobs.contracts import Place
from privmed.jobs.local import Local
from privmed.jobs.pool import Processes
from privmed.refine import AUTO, Refinement

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


@pytest.mark.parametrize("executor", [Local(), Batched(Local(), 4)], ids=["alone", "in a batch"])
def test_an_image_without_room_in_memory_costs_itself(executor):
    found = {r.unit.id: r for r in executor.run(Large(), [Unit(n, n) for n in ("a", "huge", "b", "c")])}
    assert {id_: r.value for id_, r in found.items()} == {"a": "a", "b": "b", "c": "c", "huge": None}
    assert isinstance(found["huge"].error, LostItem)
    assert str(found["huge"].error).startswith("huge: there was not enough memory for it.")


class Large:
    """Has no room for one of its payloads, and none for several."""

    def open(self, place):
        def work(payload):
            if payload == "huge":
                raise MemoryError
            return payload

        return work

    def open_batches(self, place):
        def together(units, read):
            raise MemoryError

        work = self.open(place)
        return lambda units: in_groups(units, lambda u: u, lambda u: 0, together, lambda u, _, made: made, work)


def test_a_batch_that_failed_is_gone_before_its_images_are_done_one_by_one():
    class Held:
        pass

    held = []

    def together(units, read):
        much = Held()
        held.append(weakref.ref(much))
        raise MemoryError(str(much))

    alive = []
    in_groups([1, 2], lambda u: u, lambda u: 0, together, print, lambda u: alive.append(held[0]() is not None))
    assert alive == [False, False]


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


def same_pictures(one, batch, tolerance=1):
    """The names of the files of two folders, which hold the same pictures to the last bit of a float."""
    names = sorted(p.name for p in one.iterdir())
    assert names == sorted(p.name for p in batch.iterdir())
    for name in names:
        a, b = (np.asarray(Image.open(folder / name), int) for folder in (one, batch))
        assert np.abs(a - b).max() <= tolerance, name
    return names


@pytest.fixture
def scans(photographs):
    rng = np.random.default_rng(1)
    for folder in ("scans", "covers"):
        (photographs / folder).mkdir()
    for n, (height, width) in enumerate(SIZES):
        smooth = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((width, height))
        smooth.convert("L").save(photographs / f"scans/{n}.png")
    (photographs / "scans/9.png").write_bytes(b"no picture")
    for n in range(len(SIZES) + 1):  # of other sizes than the scans, and each of its own
        noise = rng.integers(60, 190, (5 + n, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60 + 7 * n, 50)).save(photographs / f"covers/{n}.png")
    return photographs


@pytest.mark.parametrize(
    "more", [[], pytest.param(["--workers", "2"], marks=pytest.mark.slow)], ids=["local", "processes"]
)
def test_scans_hidden_in_batches_are_those_hidden_one_by_one(scans, more, capsys):
    hide = ["hide", str(scans / "scans"), str(scans / "covers"), "--refine", "2", "-q", "-o"]
    assert run([*hide, str(scans / "one")]) == 1
    assert run([*hide, str(scans / "batches"), "--batch", "4", *more]) == 1
    assert same_pictures(scans / "one", scans / "batches") == [f"{n}.png" for n in range(len(SIZES))]
    lines = [[json.loads(x) for x in (scans / f"{w}.jsonl").read_text().splitlines()] for w in ("one", "batches")]
    for a, b in zip(*lines, strict=True):
        assert a.keys() == b.keys()
        assert (a["source"], a["cover"], a["refined"]) == (b["source"], b["cover"], 2)
        assert a["recovered_psnr"] == pytest.approx(b["recovered_psnr"], abs=0.05)


@pytest.mark.parametrize("as_", [[], ["--as", "mask", "--analyzer-weights", "busi"]], ids=["scans", "masks"])
def test_what_is_recovered_in_batches_is_what_is_recovered_one_by_one(photographs, as_, capsys):
    recover = ["recover", str(photographs / "stegos"), *as_, "-q", "-o"]
    assert run([*recover, str(photographs / "one")]) == 1
    assert run([*recover, str(photographs / "batches"), "--batch", "4"]) == 1
    assert len(same_pictures(photographs / "one", photographs / "batches")) == len(SIZES)
    lines = [[json.loads(x) for x in (photographs / f"{w}.jsonl").read_text().splitlines()] for w in ("one", "batches")]
    for a, b in zip(*lines, strict=True):
        assert (a["source"], a.get("outcome"), a["warnings"]) == (b["source"], b.get("outcome"), b["warnings"])


def test_only_those_scans_of_a_batch_are_refined_that_fall_short(scans, monkeypatch):
    method, hidden = registry.create("hider", "lightih"), []
    hide = type(method).hide
    monkeypatch.setattr(
        type(method),
        "hide",
        lambda self, x, cover, **how: (hidden.append((len(x), how["refine"])), hide(self, x, cover, **how))[1],
    )
    units = [(f"{n}", scans / f"scans/{n}.png", scans / f"covers/{n}.png", scans / f"{n}.png") for n in (0, 2, 3)]
    monkeypatch.setattr(files, "fidelity", lambda use: Short())
    made = Hiding(method=method).open_batches(Place())(units)
    assert [m["refined"] for m in made] == [0, AUTO, 0]
    assert hidden == [(3, 0), (1, Refinement(steps=AUTO))]


class Short:
    """Finds the second scan too bad."""

    def __init__(self):
        self.asked = 0

    def shortfalls(self, figures):
        self.asked += 1
        return ["short"] if self.asked == 2 else []


def test_a_scan_that_is_refused_costs_its_batch_nothing(scans):
    class Half(Hider):
        name = "half"

        def _hide(self, secret, cover, generator):
            return torch.where(cover.mean((1, 2, 3), keepdim=True) > 0.99, cover, secret)

        def _recover(self, stego, generator):
            return stego

    Image.new("RGB", (64, 48), "white").save(scans / "covers/2.png")
    units = [(f"{n}", scans / f"scans/{n}.png", scans / f"covers/{n}.png", scans / f"{n}.png") for n in (0, 2, 3)]
    made = Hiding(method=Half()).open_batches(Place())(units)
    assert [isinstance(m, VerificationError) for m in made] == [False, True, False]
    assert [output.is_file() for *_, output in units] == [True, False, True]


@pytest.mark.parametrize(
    "settings", [["em", "--set", "rounds=1", "--set", "batches=1", "--set", "step=1", "--set", "steps=3"], ["noise"]]
)
def test_images_protected_in_batches_are_those_protected_one_by_one(tmp_path, settings, capsys):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    rng = np.random.default_rng(2)
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for n, (height, width) in enumerate(SIZES):
        deep = n == 3  # as large as its neighbours, and of other grey levels
        values = rng.integers(0, 65535 if deep else 255, (height, width), dtype=np.uint16 if deep else np.uint8)
        Image.fromarray(values).save(tmp_path / f"set/images/{n}.png")
        mask = np.zeros((height, width), np.uint8)
        mask[8:20, 8:24] = 0 if n == 4 else 255
        Image.fromarray(mask).save(tmp_path / f"set/masks/{n}.png")
    name, *more = settings
    tiny = [] if name == "noise" else [*more, "--set", "size=32", "--set", "width=2"]
    said = []
    for where, batch in (("one", []), ("batches", ["--batch", "5"])):
        out = str(tmp_path / where)
        protect = ["protect", str(tmp_path / "set"), "--protector", name, "--set", "where=roi", *tiny, *batch]
        assert run([*protect, "-o", out, "--json"]) == 1
        said.append(capsys.readouterr().out.replace(out, ""))
    assert said[0] == said[1]
    assert [f["file"] for f in json.loads(said[0])["failed"]] == ["images/4.png"]
    assert "nothing to act on" in said[0]
    assert same_pictures(tmp_path / "one/images", tmp_path / "batches/images", tolerance=0) == [
        f"{n}.png" for n in range(4)
    ]
    one, batch = ((tmp_path / where / "manifest.jsonl").read_text() for where in ("one", "batches"))
    assert one == batch
