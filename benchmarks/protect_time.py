"""How long a protection of the training images of busi takes, fit included, and where the time goes.

    python benchmarks/protect_time.py --data DIR

Runs ``privmed protect`` on a copy scaled to 224 x 224, with all cores: `tint` in grey and in colour, without a fit; and `umed` with its
shortened fit, twice, the second time with the fitted protector. What that takes is reading, protecting, writing and proving; the rest of
the first is the fit. Writes ``benchmarks/results/protect-time.jsonl``.
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
QUICK = ("--set", "quick=true")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    source = ImageFolder(options.data / "busi")
    with tempfile.TemporaryDirectory() as folder:
        data = scaled(source, Path(folder) / "set")
        fitted, coloured = Path(folder) / "umed.safetensors", scaled(source, Path(folder) / "colour", "RGB")
        plain = {
            "tint": protect("tint", data, Path(folder) / "a"),
            "tint, in colour": protect("tint", coloured, Path(folder) / "b"),
        }
        whole, said = protect("umed", data, Path(folder) / "c", *QUICK, "--save", fitted)
        later, _ = protect("umed", data, Path(folder) / "d", "--load", fitted)
    found = [measured("time", label, seconds, "busi", part="no fit", unit="s") for label, (seconds, _) in plain.items()]
    for part, seconds in (
        ("fit included", whole),
        ("of that: the fit", whole - later),
        ("of that: read, protect, write and prove", later),
    ):
        found.append(measured("time", "umed, quick", seconds, "busi", part=part, unit="s"))
    for label, figures in (*((k, v[1]) for k, v in plain.items()), ("umed, quick", said)):
        found += [measured(k, label, figures[k], "busi", unit=u) for k, u in LOOKS.items()]
    path = options.out / "protect-time.jsonl"
    print(publish(path, found, data={"busi": source.digest("train")}), file=sys.stderr)


def scaled(source: ImageFolder, out: Path, mode: str = "L") -> Path:
    """The training images and masks of a set at 224 x 224, the images in grey or colour."""
    for name in ("images", "masks"):
        (out / name).mkdir(parents=True)
    for item in source.items("train"):
        for path, kind, how in (
            (item.image, "images", Image.Resampling.LANCZOS),
            (item.mask.files[0], "masks", Image.NEAREST),
        ):
            with Image.open(path) as opened:
                pixels = opened.convert("L").resize((SIZE, SIZE), how)
                pixels.convert(mode if kind == "images" else "L").save(out / kind / path.name)
    return out


def protect(method: str, data: Path, out: Path, *more: str | Path) -> tuple[float, dict]:
    """Seconds of a whole process, and what it says."""
    command = [sys.executable, "-m", "privmed", "protect", data, "-o", out, "--protector", method, "--json", *more]
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


if __name__ == "__main__":
    main()
