"""Parameters, multiply-accumulates and memory of every bundled method: ``python benchmarks/costs.py``.

Nothing here depends on the machine or on how busy it is. Multiply-accumulates are counted by torch while a step runs, on one image; a
large one goes through the networks of hiders patch by patch, and what lies around a patch is counted with each. Memory is that of the
tensors that a step holds at once beside its input and weights. Weights are random, and do not matter. Writes
``benchmarks/results/costs.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from privmed import registry
from privmed.bench.costs import cost
from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish
from privmed.shared_key import with_key

HERE = Path(__file__).parent
HIDERS = ("hinet", "lightih", "lightih-keyed", "hidden", "deepstega")
ANALYZERS = ("unet", "attention-unet", "unet++", "transunet", "xnet", "cmunext", "hidemia")


def measurements(sides: list[int]) -> list[Measurement]:
    """A few figures of each step."""
    out: list[Measurement] = []
    for kind, names in (("hider", HIDERS), ("analyzer", ANALYZERS)):
        for name in names:
            method = with_key(registry.create(kind, name, None))
            method.precision = "float32"
            count = sum(p.numel() for p in method.parameters())
            out.append(
                measured("parameters", name, count / 1e6, unit="M", side="client" if kind == "hider" else "server")
            )
            for side in sides:
                a, b = torch.rand(2, 1, 3, side, side)
                steps = (
                    {"hide": lambda m=method, a=a, b=b: m.hide(a, b), "recover": lambda m=method, a=a: m.recover(a)}
                    if kind == "hider"
                    else {"analyze": lambda m=method, a=a: m.analyze(a)}
                )
                for step, work in steps.items():
                    one = cost(work, turns=0)
                    out.append(measured("macs", name, one.macs / 1e9, unit="G", step=step, size=side))
                    out.append(measured("tensors", name, one.peak / 1e6, unit="MB", step=step, size=side))
                    print(f"{name}, {step}, {side}: {one.macs / 1e9:.2f} G, {one.peak / 1e6:.0f} MB", file=sys.stderr)
    return out


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 512])
    options = parser.parse_args()
    with torch.no_grad():
        found = measurements(options.sides)
    print(publish(HERE / "results" / "costs.jsonl", found))


if __name__ == "__main__":
    main()
