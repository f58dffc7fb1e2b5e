"""Hide a scan in a photograph of 4000 x 3000 pixels and recover it, on the command line: ``python benchmarks/large.py``.

Each command runs in a process of its own, start and files included, and its peak memory is what the kernel says of that process. Writes
``benchmarks/results/large.jsonl``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steps import told
from torch.nn import functional as F

from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish
from privmed.data.samples import photograph, ultrasound_phantom
from privmed.imaging.wire import write_view
from privmed.precision import bf16_is_fast

HERE = Path(__file__).parent


def run(*arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of one command."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "privmed", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"privmed {' '.join(arguments)}: status {status}.")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def measurements(method: str, height: int, width: int, turns: int) -> list[Measurement]:
    """Seconds and memory of both steps."""
    out = []
    with tempfile.TemporaryDirectory() as place:
        scan, photo, stego, back = (f"{place}/{n}.png" for n in ("scan", "photo", "stego", "back"))
        for path, image in ((scan, ultrasound_phantom(0)[0]), (photo, photograph("coffee"))):
            write_view(path, F.interpolate(image, (height, width), mode="bicubic").clamp(0, 1))
        steps = {
            "hide": ("hide", scan, photo, "-o", stego, "--hider", method, "--refine", "0", "-f", "-q"),
            "recover": ("recover", stego, "-o", back, "--hider", method, "-f", "-q"),
        }
        found = {name: [] for name in steps}
        for _ in range(turns):
            for name, arguments in steps.items():
                found[name].append(run(*arguments))
                print(f"{name}: {found[name][-1][0]:.1f} s, {found[name][-1][1]:.0f} MB", file=sys.stderr)
    for name, rows in found.items():
        seconds, peaks = zip(*rows, strict=True)
        about = {"step": name, "size": f"{width} x {height}"}
        spread = told(list(seconds)) if turns > 1 else {}
        out.append(measured("time", method, statistics.median(seconds), unit="s", **about, **spread))
        out.append(measured("peak-memory", method, max(peaks), unit="MB", **about))
    return out


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["lightih"])
    parser.add_argument("--size", type=int, nargs=2, default=[4000, 3000], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    width, height = options.size
    found = [m for name in options.methods for m in measurements(name, height, width, options.turns)]
    precision = "bf16" if bf16_is_fast("cpu") else "float32"
    note = f"{precision}; load average at the end {os.getloadavg()[0]:.1f}"
    print(publish(HERE / "results" / "large.jsonl", found, note=note))


if __name__ == "__main__":
    main()
