"""How long UMed takes on the training images of busi, fit included, and where the time goes.

    python benchmarks/protect_time.py --data DIR

Runs ``privmed protect`` on a copy scaled to 224 x 224, with the defaults and all cores, and once more with the fitted protector. What
the second run takes is reading, protecting, writing and proving; the rest of the first is the fit. A third run publishes the same images
in colour, where UMed needs no fit: its tint fills the bound. Writes ``benchmarks/results/protect-time.json``.
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

from privmed import registry
from privmed.data.folders import ImageFolder
from privmed.evaluation.results import Figure, Results, provenance

SIZE = 224
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
    count = said["images"]
    about = {"method": "umed", "data": f"busi, {count} training images of {SIZE} x {SIZE}"}
    colour = {**about, "method": "umed in colour, without a fit"}
    figures = [
        Figure(name="time to protect, fit included", measured=whole, unit="s", better="lower", **about),
        Figure(name="of that: the fit", measured=whole - later, unit="s", better="lower", **about),
        Figure(name="of that: read, protect, write and prove", measured=later, unit="s", better="lower", **about),
        Figure(name="PSNR of what is published", measured=said["psnr"], unit="dB", target=50.0, **about),
        Figure(name="SSIM of what is published", measured=said["ssim"], target=0.996, **about),
        Figure(name="time to protect", measured=coloured, unit="s", better="lower", **colour),
        Figure(name="PSNR of what is published", measured=tinted["psnr"], unit="dB", target=50.0, **colour),
        Figure(name="SSIM of what is published", measured=tinted["ssim"], target=0.996, **colour),
    ]
    c = registry.load("protector", "umed").Config()
    results = Results(
        name="protect-time",
        title="UMed: how long it takes to protect a set",
        figures=figures,
        provenance=provenance(data={"busi": source.digest("train")}, seeds=[0]),
        notes=[
            f"Every run is a whole process, imports included; {count} images each, one run, one seed. umed with its defaults: networks "
            f"of width {c.width}, {c.warm_up} epochs of warm-up, {c.cycles} cycles of five epochs, batch {c.batch}; the paper's fit has "
            "100 cycles, batch 16.",
        ],
    )
    print(results.save(options.out / "protect-time.json"), file=sys.stderr)


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
