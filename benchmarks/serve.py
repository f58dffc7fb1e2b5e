"""Load a server with 1 to 64 clients, beside the analyzer alone in the same run: ``python benchmarks/serve.py``.

``privmed serve`` runs in a process of its own; clients are threads that send the same few stegos over connections they keep. For each
number of clients, the analyzer alone (in this process, the server idle) and the server take turns, so that the ratio compares like with
like on a machine that does other work too; ``OMP_NUM_THREADS=1`` makes that fairer still, as OpenMP's threads wait by spinning. Prints a
table, and whether any response differs from the one that the analyzer gives to that stego alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

import privmed
from privmed.data.samples import ultrasound_phantom
from privmed.imaging.quantise import quantise
from privmed.imaging.wire import decode_wire, encode_wire, to_bytes
from privmed.pipeline import tuned_hider

STEGOS = 8
HEADERS = {"Content-Type": "image/png"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyzer", default="hidemia")
    parser.add_argument("--weights", default="busi")
    parser.add_argument("--side", type=int, default=128, help="pixels of a photograph's side")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--turns", type=int, default=3, help="of analyzer and server, for each number of clients")
    options = parser.parse_args()
    analyzer = privmed.analyzer(options.analyzer, weights=options.weights)
    stegos = hidden(analyzer, options.side)
    pngs = [encode_wire(to_bytes(s), "stego") for s in stegos.split(1)]
    wanted = [to_bytes(analyzer.analyze(s)) for s in stegos.split(1)]
    print("| clients | images a second | of the analyzer alone | in a batch | p50 | p95 | p99 |")
    print("|---|---|---|---|---|---|---|")
    levels = 0
    with serving(options) as (url, process):
        for clients in options.clients:
            row, before = Row(clients), batches(url)
            for _ in range(options.turns):
                row.alone.append(rate(lambda n: analyzer.analyze(stegos[n : n + 1]), options.seconds))
                levels = max(levels, row.load(url, pngs, wanted, options.seconds))
            print(row.text(batches(url) - before), flush=True)
        memory = peak(process.pid)
    load = os.getloadavg()[0]
    print(
        f"\n{options.analyzer} {options.weights}, {options.side} x {options.side}, {torch.get_num_threads()} threads.",
        end=" ",
    )
    print(f"Largest difference of a response from that of the analyzer alone: {levels} levels.", end=" ")
    print(f"Peak memory of the server: {memory:.0f} MiB. Load average at the end: {load:.1f}.")


class Row:
    """What was measured with so many clients."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.alone: list[float] = []
        self.served: list[float] = []
        self.seconds: list[float] = []

    def load(self, url: str, pngs: list[bytes], wanted: list[np.ndarray], seconds: float) -> int:
        """Let all clients ask for so long; returns the largest difference from what was wanted, in levels."""
        until = time.monotonic() + seconds
        started = time.monotonic()
        with ThreadPoolExecutor(self.clients) as pool:
            done = list(pool.map(lambda n: client(url, pngs, n, until), range(self.clients)))
        took = time.monotonic() - started
        self.seconds += [s for answers in done for _, s, _ in answers]
        self.served.append(sum(map(len, done)) / took)
        return max(apart(wanted[n], body) for answers in done for n, _, body in answers)

    def text(self, batches: np.ndarray) -> str:
        """As a line of the table, given sum and count of the sizes of its photographs' batches."""
        ratio = statistics.median(s / a for s, a in zip(self.served, self.alone))
        p50, p95, p99 = (np.percentile(self.seconds, q) for q in (50, 95, 99))
        rate = statistics.median(self.served)
        return f"| {self.clients} | {rate:.2f} | {ratio:.2f} x | {batches[0] / batches[1]:.1f} | {p50:.2f} s | {p95:.2f} s | {p99:.2f} s |"


def client(url: str, pngs: list[bytes], number: int, until: float) -> list[tuple[int, float, bytes]]:
    """Ask one after another; returns which stego, how long it took, and the answer."""
    out = []
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    n = number
    while not out or time.monotonic() < until:
        started = time.monotonic()
        connection.request("POST", "/v1/photos", pngs[n % STEGOS], HEADERS)
        with connection.getresponse() as response:
            body = response.read()
            if response.status != 200:
                sys.exit(f"the server answered with status {response.status}")
        out.append((n % STEGOS, time.monotonic() - started, body))
        n += 1
    connection.close()
    return out


def apart(wanted: np.ndarray, body: bytes) -> int:
    """The largest difference of a response from what was wanted, in levels."""
    return int(np.abs(to_bytes(decode_wire(body, "response")).astype(int) - wanted).max())


def rate(work: Callable[[int], object], seconds: float) -> float:
    """Images a second of a function that takes the number of a stego."""
    started = time.monotonic()
    count = 0
    while not count or time.monotonic() - started < seconds:
        work(count % STEGOS)
        count += 1
    return count / (time.monotonic() - started)


def hidden(analyzer: privmed.Analyzer, side: int) -> torch.Tensor:
    """Phantoms hidden in soft noise, as the wire carries them."""
    coarse = torch.rand(STEGOS, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    covers = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    secrets = torch.cat([ultrasound_phantom(n, side=side)[0] for n in range(STEGOS)])
    return quantise(tuned_hider(analyzer).hide(secrets, covers))


def batches(url: str) -> np.ndarray:
    """How many photographs were in the batches of photographs until now: the sum over photographs, and their number."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/metrics")
    with connection.getresponse() as response:
        lines = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines() if line[:1] != "#")
    connection.close()
    return np.array([float(lines[f"privmed_batch_images_{part}"]) for part in ("sum", "count")])


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[tuple[str, subprocess.Popen]]:
    """``privmed serve`` in a process of its own; yields its address."""
    method = ["--analyzer", options.analyzer, "--weights", options.weights]
    command = [sys.executable, "-m", "privmed", "serve", *method, "--port", "0", "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["url"], process
        finally:
            process.terminate()


def peak(pid: int) -> float:
    """The most memory that a process has had, in MiB; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
