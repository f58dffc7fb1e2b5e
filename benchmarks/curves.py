"""Collect learning curves from training folders: ``python benchmarks/curves.py runs/lightih-1 runs/lightih-2 ...``.

Reads the ``metrics.jsonl`` that ``privmed train`` writes and keeps the validation points in ``benchmarks/results/curves.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

OUT = Path(__file__).parent / "results" / "curves.json"


def main() -> None:
    """Collect and write."""
    out = []
    for folder in map(Path, sys.argv[1:]):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        rows = [r for r in rows if "validation_score" in r]
        for key in sorted(k for k in rows[0] if k.startswith("validation_") and k != "validation_score"):
            points = [[r["step"], r[key]] for r in rows]
            out.append({"name": folder.name, "x": "step", "y": key.removeprefix("validation_"), "points": points})
    OUT.write_text(json.dumps(out) + "\n", encoding="utf-8")
    print(f"{len(out)} curves in {OUT.name}")


if __name__ == "__main__":
    main()
