"""How long UMed takes on the training images of busi, fit included, and where the time goes.

    python benchmarks/protect_time.py --data DIR

Runs ``privmed protect`` on a copy scaled to 224 x 224, with the defaults and all cores, and once more with the fitted protector. What
the second run takes is reading, protecting, writing and proving; the rest of the first is the fit. A third run publishes the same images
in colour, where UMed needs no fit: its tint fills the bound. Writes ``benchmarks/results/protect-time.jsonl``.
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

from privmed.bench.scripted import measured, publish
from privmed.data.folders import ImageFolder

SIZE = 224
LOOKS = {"psnr": "dB", "ssim": ""}
COLOUR = "umed in colour, without a fit"
NO_FIT = ("--set", "cycles=0", "--set", "warm_up=0")


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
        coloured, tinted = protect(scaled(source, Path(folder) / "colour", "RGB"), Path(folder) / "c", *NO_FIT)
    found = [
        measured("time", "umed", whole, "busi", part="fit included", unit="s"),
        measured("time", "umed", whole - later, "busi", part="of that: the fit", unit="s"),
        measured("time", "umed", later, "busi", part="of that: read, protect, write and prove", unit="s"),
        *(measured(k, "umed", said[k], "busi", unit=u) for k, u in LOOKS.items()),
        measured("time", COLOUR, coloured, "busi", part="no fit", unit="s"),
        *(measured(k, COLOUR, tinted[k], "busi", unit=u) for k, u in LOOKS.items()),
    ]
    path = options.out / "protect-time.jsonl"
    print(publish(path, found, data={"busi": source.digest("train")}), file=sys.stderr)


def scaled(source: ImageFolder, out: Path, mode: str = "L") -> Path:
    """The training images and masks of a set at 224 x 224, the images in grey or colour."""
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True)
    for item in source.items("train"):
        for path, kind, how in ((item.image, "images", Image.Resampling.LANCZOS), (item.mask, "masks", Image.NEAREST)):
            with Image.open(path) as opened:
                pixels = opened.convert("L").resize((SIZE, SIZE), how)
                pixels.convert(mode if kind == "images" else "L").save(out / kind / path.name)
    return out


def protect(data: Path, out: Path, *more: str | Path) -> tuple[float, dict]:
    """Seconds of a whole process, and what it says."""
    command = [sys.executable, "-m", "privmed", "protect", data, "-o", out, "--protector", "umed", "--json", *more]
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


if __name__ == "__main__":
    main()
