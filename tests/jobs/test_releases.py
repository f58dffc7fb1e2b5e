"""Whatever runs them, in whatever parts, commands write the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run
from privmed.data.workplace import work_of
from privmed.jobs.log import read_log

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]


@pytest.fixture
def folder(phantoms, tmp_path):
    root = phantoms(tmp_path / "set", split="train train test test")
    (root / "images/b").mkdir()
    (root / "masks/b").mkdir()
    for part in ("images", "masks"):  # the same name in another folder
        Image.fromarray(np.asarray(Image.open(root / part / "p0.png"))[::-1].copy()).save(root / part / "b/p1.png")
    with (root / "split.csv").open("a") as file:
        file.write("b/p1.png,train\n")
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def protect(source: Path, out: Path, *more: str) -> int:
    return run(["protect", str(source), "-o", str(out), *NOISE, *more])


def test_workers_write_what_one_process_writes(folder, tmp_path):
    assert protect(folder, tmp_path / "one") == 0
    assert protect(folder, tmp_path / "two", "--workers", "2") == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(tree(tmp_path / "one")) == 12
    assert {p.name for p in tmp_path.iterdir()} == {"set", "one", "two"}  # nothing is left beside them


def test_one_bad_image_costs_itself_under_workers_too(folder, tmp_path, capsys):
    (folder / "images/p2.png").write_bytes(b"no picture")
    for name, more in (("one", []), ("two", ["--workers", "2"])):
        assert protect(folder, tmp_path / name, *more, "--json") == 1
        failed = json.loads(capsys.readouterr().out)["failed"]
        assert [f["file"] for f in failed] == ["images/p2.png"]
        header, lines = read_log(work_of(tmp_path / name) / "run.jsonl")
        assert header["job"] == "protect"
        assert [line["reason"] for line in lines.values() if line["state"] == "failed"] == [failed[0]["reason"]]
        assert [line["state"] for line in lines.values()].count("done") == 4
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    Image.fromarray(np.asarray(Image.open(folder / "images/p1.png"))).save(folder / "images/p2.png")
    for name, more in (("one", ["--resume"]), ("two", ["--retry-failed", "--workers", "2"])):
        assert protect(folder, tmp_path / name, *more) == 0
        assert not work_of(tmp_path / name).exists()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_retry_failed_does_not_read_again_what_is_written(folder, tmp_path):
    (folder / "images/p2.png").write_bytes(b"no picture")
    assert protect(folder, tmp_path / "out") == 1
    kept = tmp_path / "out/images/p0.png"
    kept.write_bytes(b"damaged")
    assert protect(folder, tmp_path / "out", "--retry-failed") == 1
    assert kept.read_bytes() == b"damaged"
    assert protect(folder, tmp_path / "out", "--resume") == 1
    assert kept.read_bytes() != b"damaged"


def test_too_many_failures_end_a_run_that_can_be_resumed(folder, tmp_path, capsys):
    for name in ("p0", "p1"):
        (folder / f"images/{name}.png").write_bytes(b"no picture")
    assert protect(folder, tmp_path / "out", "--max-failures", "1") == 1
    assert "2 items failed, more than --max-failures 1" in capsys.readouterr().err
    assert protect(folder, tmp_path / "out", "--max-failures", "2") == 2  # says that there is something already
    assert protect(folder, tmp_path / "out", "--max-failures", "2", "--resume") == 1
    assert protect(folder, tmp_path / "whole") == 1
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_dry_run_writes_nothing(folder, tmp_path, capsys):
    before = tree(tmp_path)
    assert protect(folder, tmp_path / "out", "--dry-run", "--workers", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["to_do"] == ["images/b/p1.png", *(f"images/p{n}.png" for n in range(4))]
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "threads"], "--engine 'threads': expected local, processes, ray."),
        (["--workers", "0"], "--workers '0': expected a number from 1, or auto."),
        (["--engine", "local", "--workers", "2"], "the engine local is one process"),
        (["--address", "auto"], "Give --engine ray"),
        (["--shard", "5/4"], "expected a part of the whole"),
        (["--shard", "1/4", "--judge", "quick"], "a shard is too little to judge"),
        (["--shard", "1/4", "--protector", "tap", "--set", "width=2"], "fit it once"),
        (["--fit-only"], "noise has nothing to fit"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(folder, tmp_path, capsys, options, words):
    command = ["protect", str(folder), "-o", str(tmp_path / "out"), "-q"]
    command += [] if "--protector" in options else ["--protector", "noise"]
    assert run([*command, *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_release_is_for_one_run_at_a_time(folder, tmp_path, capsys):
    from privmed.jobs.lock import FolderLock

    (tmp_path / "out").mkdir()
    lock = FolderLock(work_of(tmp_path / "out"), tmp_path / "out")
    lock.take(make=True)
    drafts = work_of(tmp_path / "out") / "drafts"
    drafts.mkdir()
    for more in ([], ["--resume"]):
        assert protect(folder, tmp_path / "out", *more) == 2
        assert "another run is writing into it" in capsys.readouterr().err
    assert drafts.is_dir()  # nobody swept what the other run writes
    lock.release()
    assert protect(folder, tmp_path / "out") == 0


def test_without_a_terminal_there_is_a_line_a_minute(capsys):
    from privmed.cli.progress import Lines

    now = [0.0]
    lines = Lines("marking", clock=lambda: now[0])
    for done in range(1, 181):
        now[0] += 1
        lines.tick(done, 1800)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "marking: 60 of 1,800, 1 a second, about 29 minutes left",
        "marking: 120 of 1,800, 1 a second, about 28 minutes left",
        "marking: 180 of 1,800, 1 a second, about 27 minutes left",
    ]


def test_a_line_is_of_one_count_and_says_which(capsys):
    """Where fits follow each other, the epochs of one are no progress of another."""
    from privmed.cli.progress import Lines

    now = [0.0]
    lines = Lines("bench", clock=lambda: now[0])
    for fit in "abc":
        for done in range(1, 26):
            now[0] += 2
            lines.tick(done, 25, f"fit {fit}")
    assert capsys.readouterr().err.splitlines() == [
        "bench: fit b: 5 of 25",  # eight seconds say too little
        "bench: fit c: 10 of 25, 0.5 a second, about 1 minute left",
    ]


def test_what_was_kept_from_before_is_no_speed(capsys):
    from privmed.cli.progress import Lines

    now = [0.0]
    lines = Lines("writing", clock=lambda: now[0])
    for done in range(1000, 1010):
        lines.tick(done, 2000)
        now[0] += 10
    assert capsys.readouterr().err.splitlines()[0] == "writing: 1,006 of 2,000, 0.1 a second, about 2.8 hours left"


def test_a_bar_is_of_one_count(monkeypatch):
    import io

    import rich.progress
    from rich.console import Console

    from privmed.cli.progress import _on_terminal

    made = []

    class Progress(rich.progress.Progress):
        def __init__(self, *columns, **how):
            super().__init__(*columns, **how)
            made.append(self)

    monkeypatch.setattr(rich.progress, "Progress", Progress)
    with _on_terminal(Console(file=io.StringIO(), force_terminal=True), "hiding") as tick:
        for done in range(1, 7):
            tick(done, 6)
        assert made[0].tasks[0].finished
        tick(1, 6)  # what is hidden is read back
        assert not made[0].tasks[0].finished
        assert made[0].tasks[0].completed == 1


def test_the_commands_of_all_shards_are_told(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert run(["protect", str(folder), "-o", "out", "--protector", "noise", "--shard", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == [f"privmed protect {folder} -o out --protector noise --shard {n}/2" for n in (1, 2)]
    assert told[2] == "privmed jobs merge out"
    assert not os.path.exists("out")


def shard(folder, out, *numbers, of=3, more=()) -> list[int]:
    return [protect(folder, out, "--shard", f"{n}/{of}", *more) for n in numbers]


def status(out, capsys, *more) -> tuple[int, dict]:
    capsys.readouterr()
    code = run(["jobs", *(more or ["status"]), str(out), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_shards_that_were_joined_equal_one_run(folder, tmp_path, capsys):
    assert protect(folder, tmp_path / "one") == 0
    out = tmp_path / "out"
    assert shard(folder, out, 3, 1) == [0, 0]
    code, told = status(out, capsys, "merge")
    assert code == 1
    assert (told["absent"], told["written"], told["merged"]) == ([2], 3, False)
    assert told["missing"] == ["images/p0.png", "images/p3.png"]
    assert not (out / "manifest.jsonl").exists()
    assert shard(folder, out, 2) == [0]
    code, told = status(out, capsys, "merge")
    assert (code, told["merged"], told["written"]) == (0, True, 5)
    assert tree(out) == tree(tmp_path / "one")
    assert {p.name for p in tmp_path.iterdir()} == {"set", "one", "out"}
    assert protect(folder, out, "--resume") == 0  # an ordinary release again
    assert tree(out) == tree(tmp_path / "one")


def test_what_no_shard_has_reached_is_missing(folder, tmp_path, capsys):
    """A shard that was killed has begun, and has written some."""
    out = tmp_path / "out"
    assert shard(folder, out, 1, 2, 3) == [0, 0, 0]
    (out / "images/p1.png").unlink()
    code, told = status(out, capsys, "merge")
    assert (code, told["merged"], told["missing"]) == (1, False, ["images/p1.png"])


def test_an_array_job_does_its_own_part(folder, tmp_path, monkeypatch, capsys):
    for number in (0, 1, 2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
        assert protect(folder, tmp_path / "out", "--shard", "3") == 0
    assert status(tmp_path / "out", capsys, "merge")[1]["written"] == 5


def test_what_failed_in_a_shard_is_mended_there_or_left_out(folder, tmp_path, capsys):
    good = (folder / "images/p2.png").read_bytes()
    (folder / "images/p2.png").write_bytes(b"no picture")
    assert protect(folder, tmp_path / "one") == 1
    for out in (tmp_path / "mended", tmp_path / "left"):
        assert sorted(shard(folder, out, 1, 2, 3)) == [0, 0, 1]
        code, told = status(out, capsys, "merge")
        assert (code, told["merged"]) == (1, False)
        assert [f["file"] for f in told["failed"]] == ["images/p2.png"]
    code, told = status(tmp_path / "left", capsys, "merge", "--leave-out")
    assert (code, told["merged"]) == (1, True)
    assert tree(tmp_path / "left") == tree(tmp_path / "one")
    (folder / "images/p2.png").write_bytes(good)
    assert shard(folder, tmp_path / "mended", 1, 2, 3, more=["--resume"]) == [0, 0, 0]
    assert status(tmp_path / "mended", capsys, "merge")[0] == 0
    assert protect(folder, tmp_path / "two") == 0
    assert tree(tmp_path / "mended") == tree(tmp_path / "two")


def test_shards_that_are_no_parts_of_one_whole_are_refused(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["jobs", "merge", str(out)]) == 3
    assert "has no shards" in capsys.readouterr().err
    assert shard(folder, out, 1) == [0]
    assert shard(folder, out, 1) == [2]
    assert "interrupted run left its state" in capsys.readouterr().err
    assert shard(folder, out, 2, of=4) == [0]
    assert run(["jobs", "merge", str(out)]) == 3
    assert "shards of 3 and of 4" in capsys.readouterr().err
    assert shard(folder, tmp_path / "b", 1) == [0]
    assert shard(folder, tmp_path / "b", 2, more=["--seed", "1"]) == [0]
    assert run(["jobs", "merge", str(tmp_path / "b")]) == 3
    assert "other settings" in capsys.readouterr().err
    assert shard(folder, tmp_path / "c", 1, 2, 3) == [0, 0, 0]
    (folder / "images/p2.png").rename(folder / "images/q2.png")
    (folder / "masks/p2.png").rename(folder / "masks/q2.png")
    (folder / "split.csv").unlink()
    assert run(["jobs", "merge", str(tmp_path / "c")]) == 3
    assert "holds other images than when the shards" in capsys.readouterr().err
    assert protect(folder, tmp_path / "d") == 0
    assert shard(folder, tmp_path / "d", 1) == [2]
    assert "is not empty" in capsys.readouterr().err


def test_a_shard_is_for_one_run_at_a_time(folder, tmp_path, capsys):
    from privmed.jobs.lock import FolderLock
    from privmed.jobs.shards import Shard

    out = tmp_path / "out"
    assert shard(folder, out, 1, 2, 3) == [0, 0, 0]
    lock = FolderLock(work_of(out, Shard(2, 3)), out)
    lock.take(make=True)
    assert shard(folder, out, 1, 2, more=["--resume"]) == [0, 2]
    assert "another run is writing" in capsys.readouterr().err
    assert run(["jobs", "merge", str(out)]) == 2
    lock.release()
    assert run(["jobs", "merge", str(out)]) == 0


def test_a_method_that_learns_is_fitted_once_for_all_shards(folder, tmp_path, capsys):
    tap = ["--protector", "tap", "-q"]
    tiny = ["--set", "width=2", "--set", "size=32", "--set", "epochs=1", "--set", "steps=2"]
    fitted = str(tmp_path / "f.safetensors")
    command = ["protect", str(folder), "-o", str(tmp_path / "out"), *tap]
    assert run([*command, *tiny, "--fit-only", "--save", fitted]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"set", "f.safetensors", "f.json"}
    for n in (1, 2):
        assert run([*command, "--load", fitted, "--shard", f"{n}/2"]) == 0
    assert run(["jobs", "merge", str(tmp_path / "out"), "-q"]) == 0
    assert run(["protect", str(folder), "-o", str(tmp_path / "one"), *tap, "--load", fitted]) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
