"""The pictures of the documents about watermarks.

    python benchmarks/watermark_pictures.py [--runs runs]

Writes ``docs/images/watermarks.png`` (ultrasound phantoms, marked beside the lesion, with what the ResNet-18 of ``make models``
says of them) and ``docs/images/watermark-ablation.svg``. Phantoms, because images of the data sets are not ours to show.
"""

from __future__ import annotations

import argparse
import html
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import privmed
from privmed.bench.records import Measurement, read_records
from privmed.data.samples import ultrasound_phantom
from privmed.imaging.keepout import lesion_boxes, paint
from privmed.imaging.logo import draw_logo
from privmed.imaging.wire import to_bytes
from privmed.oracles import load_oracle

ROOT = Path(__file__).parents[1]
SIDE, GAP, FOOT, SHOWN = 224, 12, 26, 3
PANEL, EDGE = 190, 34  # side of one diagram, and the room for its labels
INK, FAINT, LINE = "#17202b", "#c9d1da", "#0b6bcb"


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the classifier lies")
    options = parser.parse_args()
    sheet(options.runs).save(ROOT / "docs/images/watermarks.png", optimize=True)
    curves = lines(read_records(ROOT / "benchmarks/results/watermark-ablation.jsonl").measurements)
    (ROOT / "docs/images/watermark-ablation.svg").write_text(diagrams(curves), encoding="utf-8")


def sheet(runs: Path) -> Image.Image:
    """The first phantoms that a mark beside the lesion misleads the model about."""
    oracle = load_oracle(runs / "diagnosis-busi-resnet18/classifier-busi-resnet18.safetensors")
    locker = privmed.watermarker("medlocker", high=230)
    made = Image.new("RGB", (SHOWN * (2 * SIDE + 2 + GAP) - GAP, SIDE + FOOT), "white")
    draw, font, shown = ImageDraw.Draw(made), ImageFont.load_default(15), 0
    for seed in range(60):
        image, mask = ultrasound_phantom(seed, SIDE)
        boxes = paint(lesion_boxes(mask[0, 0].numpy()), (SIDE, SIDE)).astype(np.float32)
        label = int(oracle(image).argmax())
        done = locker.embed(
            image, draw_logo(), oracle, label, forbidden=torch.from_numpy(boxes)[None, None], generator=seed
        )
        after = int(oracle(done.image).argmax())
        if after == label:
            continue
        left = shown * (2 * SIDE + 2 + GAP)
        for offset, picture, answer in ((0, image, label), (SIDE + 2, done.image, after)):
            made.paste(Image.fromarray(to_bytes(picture.expand(-1, 3, -1, -1))), (left + offset, 0))
            draw.text((left + offset, SIDE + 4), f"model: {oracle.classes[answer]}", fill=INK, font=font)
        shown += 1
        if shown == SHOWN:
            break
    return made


def lines(found: list[Measurement]) -> dict[str, list[tuple[float, float]]]:
    """ASR along each setting; logos by their number."""
    out: dict[str, list[tuple[float, float]]] = {}
    for m in found:
        if m.metric == "asr" and "class" not in m.dimensions:
            (name,) = set(m.dimensions) - {"source", "where"}
            value = m.dimensions[name]
            points = out.setdefault(name if name != "logo" else "logo: shield, square, ring", [])
            points.append((value if name != "logo" else len(points) + 1, m.value))
    return out


def diagrams(curves: dict[str, list[tuple[float, float]]]) -> str:
    """Small diagrams side by side, all from 0 to 1."""
    width, parts = len(curves) * (PANEL + EDGE) + 12, []
    for n, (name, points) in enumerate(curves.items()):
        left, top, bottom = n * (PANEL + EDGE) + EDGE, 24, PANEL
        xs, ys = zip(*points)
        places = [left + (PANEL - 20) * i / (len(xs) - 1) for i in range(len(xs))]
        heights = [bottom - (bottom - top) * y for y in ys]
        for share in (0, 0.5, 1):
            y = bottom - (bottom - top) * share
            parts.append(f'<path d="M{left} {y}h{PANEL - 20}" stroke="{FAINT}"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{share:g}</text>')
        parts.append(f'<text x="{left}" y="14" font-weight="600">{html.escape(name)}</text>')
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(places, heights))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
        for x, y, value in zip(places, heights, xs):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{LINE}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    box, font = f'viewBox="0 0 {width} {PANEL + 30}"', 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} {font} fill="{INK}">'
    return f'{head}<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
