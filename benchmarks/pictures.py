"""Make the picture of README from the demo's images: ``python benchmarks/pictures.py`` writes ``docs/images/covert.png``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from privmed import registry
from privmed.covert.case import run_case
from privmed.covert.report import overlay
from privmed.data.samples import demo_cases
from privmed.imaging.wire import to_bytes
from privmed.pipeline import tuned_hider

OUT = Path(__file__).parents[1] / "docs" / "images" / "covert.png"
SIDE, GAP, HEAD = 224, 12, 30
COLUMNS = ("secret", "cover", "stego", "difference", "response", "result")
TITLES = ("scan", "photograph", "sent: stego", "10 x (stego - photo)", "answer: response", "read by the clinic")


def main() -> None:
    """Run the two analysed cases and lay them out."""
    rows = [case for case in demo_cases(0) if case.weights]
    width, height = len(COLUMNS) * (SIDE + GAP) - GAP, HEAD + len(rows) * (SIDE + GAP + 22)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for x, title in enumerate(TITLES):
        draw.text((x * (SIDE + GAP), 6), title, fill="#17202b", font=font)
    with tempfile.TemporaryDirectory() as folder:
        for y, case in enumerate(rows):
            server = registry.create("analyzer", "hidemia", case.weights)
            result = run_case(case, tuned_hider(server), server, Path(folder))
            top = HEAD + y * (SIDE + GAP + 22)
            images = {**result.images, "result": overlay(result.images["secret"], result.images["mask"], case.mask)}
            for x, name in enumerate(COLUMNS):
                sheet.paste(tile(images[name]), (x * (SIDE + GAP), top))
            f = result.figures
            captions = {2: f"{f['stego_psnr']:.1f} dB", 4: f"{f['response_psnr']:.1f} dB", 5: f"Dice {f['dice']:.2f}"}
            for x, text in captions.items():
                draw.text((x * (SIDE + GAP), top + SIDE + 3), text, fill="#5d6978", font=font)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(OUT, optimize=True)
    print(OUT.name)


def tile(image: torch.Tensor) -> Image.Image:
    """One picture, square."""
    made = Image.fromarray(to_bytes(image.expand(-1, 3, -1, -1)))
    return made if made.size == (SIDE, SIDE) else made.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
