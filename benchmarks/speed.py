"""Run the speed benchmarks and publish them as ratios: ``python benchmarks/speed.py``. Writes ``benchmarks/results/speed.json``."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from privmed.evaluation.results import Figure, Results, provenance

HERE = Path(__file__).parent
GIGAFLOP = {"hinet": 101.4, "lightih": 25.4}  # 2 x MAC of one direction at 224
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
    result = Results(
        name="speed",
        title="Speed, as ratios within one run",
        figures=figures(median, spread),
        provenance=provenance(),
        notes=[
            f"Medians of pytest-benchmark; load average at the end {os.getloadavg()[0]:.1f}. Ratios compare within this run only."
        ],
    )
    print(result.save(HERE / "results" / "speed.json"), file=sys.stderr)


def figures(median: dict[str, float], spread: dict[str, float]) -> list[Figure]:
    """Ratios first, then the times they come from."""

    def ratio(name: str, method: str, slow: str, fast: str, **more) -> Figure:
        return Figure(
            name=name, method=method, measured=median[slow] / median[fast], unit="x", data="one 224 x 224 image", **more
        )

    bf16 = PRODUCT / median["torch.bfloat16"]
    rate = {m: GIGAFLOP[m] / median[f"{m}, bf16"] for m in GIGAFLOP}
    out = [
        ratio(
            "hide: ours in bf16 over as printed in float32",
            "hinet",
            "hinet as printed, float32",
            "hinet, bf16",
            target=5,
        ),
        ratio("hide: bf16 over float32", "hinet", "hinet, float32", "hinet, bf16"),
        ratio("hide: bf16 over float32", "lightih", "lightih, float32", "lightih, bf16"),
        ratio("hide: LightIH over HiNet, bf16", "lightih", "hinet, bf16", "lightih, bf16"),
        Figure(
            name="training step: pushed over concatenating dense block",
            method="lightih",
            data="8 crops of 64 pixels",
            unit="x",
            measured=median["as printed"] / median["pushed"],
        ),
        Figure(
            name="matrix product: bf16 over float32",
            method="machine",
            unit="x",
            measured=median["torch.float32"] / median["torch.bfloat16"],
        ),
    ]
    out += [
        Figure(
            name="share of the machine's bf16 matrix rate",
            method=m,
            data="hide, one image",
            measured=r / bf16,
            note=f"{r:.0f} of {bf16:.0f} GFLOP/s",
        )
        for m, r in rate.items()
    ]
    out += [
        Figure(
            name=f"time: {k}",
            method="all",
            measured=v * 1e3,
            spread=spread[k] * 1e3,
            over="interquartile range",
            unit="ms",
            better="lower",
        )
        for k, v in median.items()
    ]
    return out


if __name__ == "__main__":
    main()
