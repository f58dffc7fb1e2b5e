"""Collect learning curves from training folders: ``python benchmarks/curves.py runs/lightih-1 runs/lightih-2 ...``.

Reads the ``metrics.jsonl`` that ``privmed train`` writes and keeps the validation points in ``benchmarks/results/curves.jsonl``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from privmed.bench.scripted import measured, publish

OUT = Path(__file__).parent / "results" / "curves.jsonl"
METRICS = {"recovered_db": "recovered-psnr", "stego_db": "stego-psnr", "response_db": "response-psnr"}


def main() -> None:
    """Collect and write."""
    out = []
    for folder in map(Path, sys.argv[1:]):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        rows = [r for r in rows if "validation_score" in r]
        for key in sorted(k for k in rows[0] if k.startswith("validation_") and k != "validation_score"):
            name = key.removeprefix("validation_")
            about = {"unit": "dB" if name in METRICS else ""}
            metric = METRICS.get(name, name)
            out += [measured(metric, folder.name, r[key], "validation", step=r["step"], **about) for r in rows]
    print(publish(OUT, out))


if __name__ == "__main__":
    main()
