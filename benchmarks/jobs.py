"""What the job layer costs, as ratios within one run: no-op items a second, throughput against workers, and memory.

    python benchmarks/jobs.py [--workers 1,2,4] [--items 2000] [--parts layer,workers,memory]

``layer``: items that do nothing, per second, for each engine; ``against_loop`` is a bare loop's rate over it.
``workers``: items of a fixed amount of arithmetic, and the speed-up over the engine ``local``.
``memory``: the peak of a driver that releases 1,000 and 10,000 tiny files, each in a process of its own, and its files a second.
Writes ``benchmarks/results/jobs.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attrs import frozen

from privmed.bench.scripted import measured, publish
from privmed.jobs import Job, Unit
from privmed.jobs.contracts import Place
from privmed.jobs.local import Local
from privmed.jobs.pool import Processes, cores

ROUNDS = 20_000  # of arithmetic an item, some milliseconds


@frozen
class Work:
    """So much arithmetic for each item; none at all for the cost of the layer."""

    rounds: int = 0

    def open(self, place: Place):
        """The work."""
        return self.work

    def work(self, payload: int) -> int:
        """Arithmetic that no library makes parallel."""
        for _ in range(self.rounds):
            payload = (payload * 6364136223846793005 + 1) % 2**64
        return payload


@frozen
class Twice:
    """Writes what a file holds, twice."""

    def open(self, place: Place):
        """The work."""
        return twice


def twice(payload) -> dict:
    """As a method that writes an image."""
    item, draft = payload
    draft.write_bytes(item.image.read_bytes() * 2)
    return {}


def rate(executor, task: Work, count: int) -> float:
    """Items a second, without what it takes to start the workers: from the first result to the last."""
    times = []
    Job("bench", executor).run(
        task, (Unit(str(n), n) for n in range(count)), lambda *_: times.append(time.perf_counter())
    )
    return (len(times) - 1) / (times[-1] - times[0])


def layer(items: int) -> dict:
    """No-op items a second."""
    work, start = Work().open(Place()), time.perf_counter()
    for n in range(items):
        work(n)
    loop = items / (time.perf_counter() - start)
    found = {"loop": loop, "local": rate(Local(), Work(), items), "processes": rate(Processes(1), Work(), items)}
    return {
        name: {"a_second": round(value, 1), "against_loop": round(loop / value, 1)} for name, value in found.items()
    }


def throughput(workers: list[int], items: int) -> dict:
    """Speed-up over ``local``."""
    base = rate(Local(), Work(ROUNDS), items)
    found = {"local": {"a_second": round(base, 1), "speed_up": 1.0}}
    for count in workers:
        value = rate(Processes(count), Work(ROUNDS), items)
        found[str(count)] = {"a_second": round(value, 1), "speed_up": round(value / base, 2)}
    return found


def release(folder: Path, out: Path, workers: int) -> None:
    """One release, and the peak memory of its driver on standard output, in kB."""
    import resource

    from privmed.data.folders import ImageFolder
    from privmed.data.release import Release

    source = ImageFolder(folder)
    job = Job("bench", Processes(workers) if workers else Local())
    with Release(source, out, {}, job=job) as made:
        items = source.items()
        made.finish(items, made.run(items, Twice()).failed)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory(counts: tuple[int, int] = (1_000, 10_000)) -> dict:
    """Peaks of the driver and their ratio; and how many files a second a release takes, between the two counts."""
    found = {}
    for workers in (0, 2):
        peaks, times = [], []
        for count in counts:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "set"
                folder.mkdir()
                for n in range(count):
                    (folder / f"{n:05}.png").write_bytes(b"picture %d" % n)
                command = [sys.executable, __file__, "--release", str(folder), place + "/out", str(workers)]
                start = time.perf_counter()
                peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                times.append(time.perf_counter() - start)
        found["processes" if workers else "local"] = {
            "peak_mb": [round(p / 1024, 1) for p in peaks],
            "ratio": round(peaks[1] / peaks[0], 3),
            "files_a_second": round((counts[1] - counts[0]) / (times[1] - times[0]), 1),
        }
    return found


def records(found: dict) -> list:
    """The same as measurements."""
    out = []
    for engine, one in found.get("layer", {}).items():
        out.append(measured("rate", engine, one["a_second"], what="items that do nothing"))
    for count, one in found.get("workers", {}).items():
        label = "local" if count == "local" else f"processes, {count}"
        out.append(measured("rate", label, one["a_second"], what="items of some milliseconds"))
        out.append(measured("speedup", label, one["speed_up"], what="items of some milliseconds", unit="x"))
    for engine, one in found.get("memory", {}).items():
        out.append(measured("rate", engine, one["files_a_second"], what="files of a release"))
        out.append(measured("peak-memory", engine, one["peak_mb"][1], what="driver, 10,000 files", unit="MB"))
        out.append(measured("memory-ratio", engine, one["ratio"], what="driver, 10,000 files over 1,000"))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="the figures as JSON, instead of the records")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--parts", default="layer,workers,memory")
    parser.add_argument("--release", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.release:
        return release(Path(given.release[0]), Path(given.release[1]), int(given.release[2]))
    found: dict = {"processors": cores(), "load": round(os.getloadavg()[0], 1)}  # of all that the machine does
    parts = {
        "layer": lambda: layer(given.items * 10),
        "workers": lambda: throughput([int(n) for n in given.workers.split(",")], given.items),
        "memory": memory,
    }
    for name in given.parts.split(","):
        found[name] = parts[name]()
    text = json.dumps(found, indent=2)
    print(text)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    else:
        note = f"Load average before the run {found['load']}; {found['processors']} processors."
        print(publish(given.out / "jobs.jsonl", records(found), note=note), file=sys.stderr)


if __name__ == "__main__":
    # workers import the tasks by the module's name, which is not __main__ there
    sys.path.insert(0, str(Path(__file__).parent))
    import jobs

    jobs.main()
