"""Hide, analyze and recover of every bundled method, as ratios to a plain float32 HiNet in the same run: ``python benchmarks/steps.py``.

For each size and batch, HiNet's hiding in float32 and a step take turns, so that a ratio compares neighbours in time. The share says how
much of the machine's own rate of 3 x 3 convolutions (64 channels, 224 x 224, the same precision) a step reaches, its operations counted by
torch. Weights are random, and do not matter here. Writes ``benchmarks/results/steps.jsonl``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from privmed import registry
from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish
from privmed.precision import bf16_is_fast, subnet_precision
from privmed.shared_key import with_key

HERE = Path(__file__).parent
HIDERS = ("hinet", "lightih", "lightih-keyed", "hidden", "deepstega")
ANALYZERS = ("unet", "attention-unet", "unet++", "transunet", "xnet", "cmunext", "hidemia")
COUNTED = 96  # side of the image on which operations of hiders are counted
ROUNDS, SECONDS = 3, 12.0  # of each measurement: so many, or as many as that takes

Step = Callable[[torch.Tensor, torch.Tensor], object]


def steps(precision: str) -> dict[str, Step]:
    """Every step by its name, on (images, other images)."""
    found: dict[str, Step] = {}
    for name in HIDERS:
        hider = with_key(registry.create("hider", name, None))
        hider.precision = precision
        found[f"{name}, hide"] = lambda a, b, hider=hider: hider.hide(a, b)
        found[f"{name}, recover"] = lambda a, _, hider=hider: hider.recover(a)
    for name in ANALYZERS:
        analyzer = registry.create("analyzer", name, None)
        analyzer.precision = precision
        found[f"{name}, analyze"] = lambda a, _, analyzer=analyzer: analyzer.analyze(a)
    return found


def turns(*work: Callable[[], object]) -> list[list[float]]:
    """Seconds of each, round by round, after a first time that does not count."""
    for one in work:
        one()
    times: list[list[float]] = [[] for _ in work]
    while len(times[0]) < ROUNDS and sum(map(sum, times)) < SECONDS:
        for one, found in zip(work, times, strict=True):
            start = time.perf_counter()
            one()
            found.append(time.perf_counter() - start)
    return times


def told(values: list[float]) -> dict:
    """How many there were, and how far they lie apart."""
    return {"n": len(values), "spread": (max(values) - min(values)) / 2, "over": "rounds"}


def convolution(precision: str) -> float:
    """Operations a second of the machine's own convolution."""
    layer, x = torch.nn.Conv2d(64, 64, 3, padding=1), torch.rand(1, 64, 224, 224)

    def run() -> object:
        with torch.no_grad(), subnet_precision(precision, "cpu"):
            return layer(x)

    return operations(run) / statistics.median(turns(run)[0])


def operations(work: Callable[[], object]) -> float:
    """Multiplications and additions of networks."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def hidden_operations(step: Step, side: int, batch: int) -> float:
    """Operations of a hider, counted on an image too small for patches, which see some pixels twice."""
    a, b = torch.rand(2, 1, 3, COUNTED, COUNTED)
    return operations(lambda: step(a, b)) * batch * (side / COUNTED) ** 2


def measurements(sides: list[int], batches: list[int], precisions: list[str]) -> list[Measurement]:
    """Ratios, shares and times."""
    out: list[Measurement] = []
    plain = steps("float32")["hinet, hide"]
    for precision in precisions:
        rate, every = convolution(precision), steps(precision)
        out.append(measured("rate", "machine", rate / 1e9, what="convolution, GFLOP/s", precision=precision))
        for side in sides:
            for batch in batches:
                a, b = (torch.rand(batch, 3, side, side) for _ in range(2))
                for name, step in every.items():
                    work = partial(step, a, b)
                    base, own = turns(partial(plain, a, b), work)
                    ratios, seconds = [x / y for x, y in zip(base, own, strict=True)], statistics.median(own)
                    about = {"step": name.rpartition(", ")[2], "size": side, "batch": batch, "precision": precision}
                    label = name.rpartition(", ")[0]
                    out.append(
                        measured("time", label, seconds * 1e3, unit="ms", **about, **told([x * 1e3 for x in own]))
                    )
                    ratio = statistics.median(ratios)
                    out.append(measured("speedup", label, ratio, unit="x", **about, **told(ratios)))
                    whole = operations(work) if name.endswith("analyze") else hidden_operations(step, side, batch)
                    out.append(measured("rate-share", label, whole / seconds / rate, **about))
                    print(f"{precision} {side} x {batch}: {name} {seconds:.3f} s, {ratio:.2f} x", file=sys.stderr)
    return out


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    precisions = ["float32", "bf16"] if bf16_is_fast("cpu") else ["float32"]
    parser.add_argument("--precisions", nargs="+", default=precisions)
    options = parser.parse_args()
    with torch.no_grad():
        found = measurements(options.sides, options.batches, options.precisions)
    note = f"load average at the end {os.getloadavg()[0]:.1f}"
    print(publish(HERE / "results" / "steps.jsonl", found, note=note))


if __name__ == "__main__":
    main()
