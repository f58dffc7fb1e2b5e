"""Run the speed benchmarks and publish them as ratios: ``python benchmarks/speed.py``. Writes ``benchmarks/results/speed.jsonl``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish

HERE = Path(__file__).parent
GIGAFLOP = {"hinet": 101.4, "lightih": 25.4}  # 2 x MAC of one direction at 224
ONE = " (one 224 x 224 image)"
RATIOS = (
    ("hinet", "hide: ours in bf16 over as printed in float32" + ONE, "hinet as printed, float32", "hinet, bf16"),
    ("hinet", "hide: bf16 over float32" + ONE, "hinet, float32", "hinet, bf16"),
    ("lightih", "hide: bf16 over float32" + ONE, "lightih, float32", "lightih, bf16"),
    ("lightih", "hide: LightIH over HiNet, bf16" + ONE, "hinet, bf16", "lightih, bf16"),
    ("lightih", "training step: pushed over concatenating dense block (8 crops of 64 pixels)", "as printed", "pushed"),
    ("machine", "matrix product: bf16 over float32", "torch.float32", "torch.bfloat16"),
)
PRODUCT = 2 * 1536**3 / 1e9


def main() -> None:
    """Measure with pytest-benchmark, then write ratios of medians."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.json"
        code = pytest.main(
            [str(HERE / "test_speed.py"), "-q", f"--benchmark-json={raw}", "-p", "no:cacheprovider", "-o", "addopts="]
        )
        if code:
            sys.exit(int(code))
        rows = json.loads(raw.read_text())["benchmarks"]
    median = {row["name"].partition("[")[2].rstrip("]"): row["stats"]["median"] for row in rows}
    spread = {row["name"].partition("[")[2].rstrip("]"): row["stats"]["iqr"] for row in rows}
    note = f"load average at the end {os.getloadavg()[0]:.1f}"
    print(publish(HERE / "results" / "speed.jsonl", measurements(median, spread), note=note), file=sys.stderr)


def measurements(median: dict[str, float], spread: dict[str, float]) -> list[Measurement]:
    """Ratios first, then the times they come from."""
    out = []
    for method, what, slow, fast in RATIOS:
        out.append(measured("speedup", method, median[slow] / median[fast], what=what, unit="x"))
    bf16 = PRODUCT / median["torch.bfloat16"]
    for method, flop in GIGAFLOP.items():
        share = flop / median[f"{method}, bf16"] / bf16
        out.append(measured("rate-share", method, share, what="hide, one image"))
    for what, value in median.items():
        about = {"what": what, "unit": "ms", "spread": spread[what] * 1e3, "over": "interquartile range"}
        out.append(measured("time", "all", value * 1e3, **about))
    return out


if __name__ == "__main__":
    main()
