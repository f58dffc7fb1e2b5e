"""How long UMed takes on the training images of busi, fit included, and where the time goes.

    python benchmarks/protect_time.py --data DIR

Runs ``privmed protect`` on a copy scaled to 224 x 224, with the defaults and all cores, and once more with the fitted protector. What
the second run takes is reading, protecting, writing and proving; the rest of the first is the fit. Writes
``benchmarks/results/protect-time.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from privmed.data.folders import ImageFolder
from privmed.evaluation.results import Figure, Results, provenance

SIZE = 224


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    source = ImageFolder(options.data / "busi")
    with tempfile.TemporaryDirectory() as folder:
        data = scaled(source, Path(folder) / "set")
        fitted = Path(folder) / "umed.safetensors"
        whole, said = protect(data, Path(folder) / "a", "--save", fitted)
        later, _ = protect(data, Path(folder) / "b", "--load", fitted)
        lines = [json.loads(line) for line in (Path(folder) / "a/manifest.jsonl").read_text().splitlines()]
    count = len(lines)
    about = {"method": "umed", "data": f"busi, {count} training images of {SIZE} x {SIZE}"}
    psnr, ssim = (sum(line[key] for line in lines) / count for key in ("psnr", "ssim"))
    figures = [
        Figure(name="time to protect, fit included", measured=whole, unit="s", better="lower", **about),
        Figure(name="of that: the fit", measured=whole - later, unit="s", better="lower", **about),
        Figure(name="of that: read, protect, write and prove", measured=later, unit="s", better="lower", **about),
        Figure(name="PSNR of what is published", measured=psnr, unit="dB", target=50.0, **about),
        Figure(name="SSIM of what is published", measured=ssim, target=0.996, **about),
    ]
    results = Results(
        name="protect-time",
        title="UMed: how long it takes to protect a set",
        figures=figures,
        provenance=provenance(data={"busi": source.digest("train")}, seeds=[0]),
        notes=[f"Both runs are whole processes, imports included; {said['images']} images each."],
    )
    print(results.save(options.out / "protect-time.json"), file=sys.stderr)


def scaled(source: ImageFolder, out: Path) -> Path:
    """The training images and masks of a set at 224 x 224."""
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True)
    for item in source.items("train"):
        for path, kind, how in ((item.image, "images", Image.Resampling.LANCZOS), (item.mask, "masks", Image.NEAREST)):
            with Image.open(path) as opened:
                opened.convert("L").resize((SIZE, SIZE), how).save(out / kind / path.name)
    return out


def protect(data: Path, out: Path, *more: str | Path) -> tuple[float, dict]:
    """Seconds of a whole process, and what it says."""
    command = [sys.executable, "-m", "privmed", "protect", data, "-o", out, "--protector", "umed", "--json", *more]
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


if __name__ == "__main__":
    main()
