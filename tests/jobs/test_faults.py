"""What happens to a job is done to it: its driver or a worker is killed, the disk is full, nothing may be written."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from privmed.cli import run
from privmed.data.workplace import work_of

DRIVER = """
import sys, time
from pathlib import Path
from attrs import frozen
sys.path.insert(0, sys.argv[1])
import jobrelease
jobrelease.main(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], resume="resume" in sys.argv)
"""
HERE = Path(__file__).parent
MOMENTS = int(os.environ.get("PRIVMED_TEST_KILLS", "50"))  # at which jobs are killed by the slow tests
VICTIMS = [("local", "driver"), ("processes", "driver"), ("processes", "worker"), ("ray", "driver"), ("ray", "worker")]


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def driver(folder, out, engine="local", *more) -> subprocess.Popen:
    command = [sys.executable, "-c", DRIVER, str(HERE), str(folder), str(out), engine, *more]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def processes() -> dict[int, tuple[int, str]]:
    """Parent and name of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
            name, _, rest = rest.rpartition(") ")
            found[int(pid)] = int(rest.split()[1]), name
        except (OSError, ValueError):
            continue
    return found


def workers_of(pid: int, engine: str) -> list[int]:
    """The workers of a driver: its children, or of Ray those of its descendants that are actors."""
    there = processes()
    if engine != "ray":
        return [child for child, (parent, _) in there.items() if parent == pid]
    found, new = set(), {pid}
    while new:
        new = {child for child, (parent, _) in there.items() if parent in new} - found
        found |= new
    return sorted(child for child in found if there[child][1].startswith("ray::Actor"))


def filled(tmp_path, count):
    folder = tmp_path / "set"
    folder.mkdir()
    for n in range(count):
        (folder / f"{n:04}.png").write_bytes(f"picture {n}".encode())
    return folder


def survive(tmp_path, engine, victim, moment, folder, whole, pause):
    """Kill at a moment after the start, resume until all is done, and compare with a run that nobody disturbed."""
    out = tmp_path / f"{engine}-{victim}"
    process = driver(folder, out, engine)
    while not (out / "manifest.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moment * pause)
    victims = workers_of(process.pid, engine)[:1] if victim == "worker" else [process.pid]
    assert victims or len(list(out.glob("*.png"))) == len(list(folder.iterdir()))  # or all is done, and they have ended
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    published = {name for name in tree(out) if name.endswith(".png")}
    known = {json.loads(x)["file"] for x in (out / "manifest.jsonl").read_text().splitlines() if x.endswith("}")}
    assert published <= known
    if process.returncode != 0:
        assert driver(folder, out, engine, "resume").wait() == 0
    assert tree(out) == tree(whole)
    assert not work_of(out).exists()
    shutil.rmtree(out)


@pytest.mark.parametrize(("engine", "victim"), [("processes", "driver"), ("processes", "worker")])
def test_a_job_that_is_killed_and_resumed_equals_an_undisturbed_one(tmp_path, engine, victim):
    draw, folder, whole = random.Random(0), filled(tmp_path, 40), tmp_path / "whole"
    assert driver(folder, whole).wait() == 0
    survive(tmp_path, engine, victim, draw.random(), folder, whole, pause=0.3)  # more moments: the slow test below


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A set of a thousand files, and what a run that nobody disturbed makes of them."""
    place = tmp_path_factory.mktemp("thousand")
    folder = filled(place, 1000)
    assert driver(folder, place / "whole").wait() == 0
    return folder, place / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("n", range(MOMENTS))
@pytest.mark.parametrize(("engine", "victim"), VICTIMS)
def test_a_job_of_a_thousand_killed_at_a_random_moment(tmp_path, thousand, engine, victim, n):
    if engine == "ray":
        pytest.importorskip("ray", reason="needs privmed[ray]")
    survive(tmp_path, engine, victim, random.Random(f"{engine} {victim} {n}").random(), *thousand, pause=4.0)


@pytest.mark.slow
def test_one_corrupt_item_among_a_thousand(tmp_path):
    folder = filled(tmp_path, 1000)
    (folder / "0500.png").write_bytes(b"corrupt")
    process = driver(folder, tmp_path / "out", "processes")
    assert process.wait() == 1
    assert len(tree(tmp_path / "out")) == 1000  # 999, and the manifest
    (folder / "0500.png").write_bytes(b"picture 500")
    assert driver(folder, tmp_path / "out", "processes", "resume").wait() == 0
    assert driver(folder, tmp_path / "whole").wait() == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.fixture
def noisy(phantoms, tmp_path):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    return ["protect", str(phantoms(tmp_path / "set")), "--protector", "noise", "--set", "where=roi", "-q"]


def test_a_full_disk_is_one_sentence_and_what_is_written_is_whole(noisy, tmp_path, capsys, monkeypatch):
    replace, seen = os.replace, []

    def full(source, target):
        seen.append(target)
        if len(seen) == 4:
            raise OSError(28, "No space left on device", str(target))
        return replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert run([*noisy, "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert len(told.splitlines()) == 1
    assert run([*noisy, "-o", str(tmp_path / "out"), "--resume"]) == 0
    assert run([*noisy, "-o", str(tmp_path / "whole")]) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_target_is_refused_before_any_work(noisy, tmp_path, capsys):
    (tmp_path / "shut").mkdir(mode=0o500)
    assert run([*noisy, "-o", str(tmp_path / "shut/out"), "--workers", "2"]) == 2
    assert "read-only" in capsys.readouterr().err


def test_a_log_that_was_cut_does_not_stop_a_resumed_run(noisy, tmp_path, capsys):
    bad = tmp_path / "set/images/p2.png"
    good = bad.read_bytes()
    bad.write_bytes(b"no picture")
    assert run([*noisy, "-o", str(tmp_path / "out")]) == 1
    log = work_of(tmp_path / "out") / "run.jsonl"
    log.write_bytes(log.read_bytes()[:-7])
    assert run([*noisy, "-o", str(tmp_path / "out"), "--resume"]) == 1
    assert all(json.loads(line) for line in log.read_text().splitlines())
    bad.write_bytes(good)
    assert run([*noisy, "-o", str(tmp_path / "out"), "--resume"]) == 0
    assert not log.exists()
