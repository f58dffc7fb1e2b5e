"""The pictures of the documents about watermarks, from what ``benchmarks/watermark.py`` measured.

    python benchmarks/watermark_pictures.py --data DIR [--runs runs]

Writes ``docs/images/watermarks.png`` (marked scans of busi-cls, with what ResNet-18 says) and ``docs/images/watermark-ablation.svg``.
"""

from __future__ import annotations

import argparse
import html
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from privmed.data.folders import ImageFolder
from privmed.evaluation.results import Curve, load
from privmed.evaluation.sheets import marked_view
from privmed.evaluation.watermark import cases_of, read_journal
from privmed.imaging.logo import draw_logo
from privmed.oracles import load_oracle

ROOT = Path(__file__).parents[1]
SIDE, GAP, FOOT = 224, 12, 26
PANEL, EDGE = 190, 34  # side of one diagram, and the room for its labels
INK, FAINT, LINE = "#17202b", "#c9d1da", "#0b6bcb"


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi-cls")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the classifier and the journal lie")
    options = parser.parse_args()
    sheet(options.data / "busi-cls", options.runs).save(ROOT / "docs/images/watermarks.png", optimize=True)
    curves = load(ROOT / "benchmarks/results/watermark-ablation.json").curves
    (ROOT / "docs/images/watermark-ablation.svg").write_text(diagrams(curves), encoding="utf-8")


def sheet(data: Path, runs: Path) -> Image.Image:
    """One image of each class that a mark beside the lesion, or anywhere on a normal image, misleads the model about."""
    oracle = load_oracle(runs / "diagnosis-busi-resnet18/classifier-busi-resnet18.safetensors")
    cases = {c.name: c for c in cases_of(ImageFolder(data), oracle.classes, SIDE)}
    lines = [r for r in read_journal(runs / "watermark-busi/watermark.jsonl") if r.get("success")]
    lines = [r for r in lines if '"source": "resnet18"' in r["key"] and r["place"][2] < 255]
    lines.sort(key=lambda r: '"where": "outside"' not in r["key"])  # those that spare a known lesion first
    chosen = {r["label"]: r for r in reversed(lines)}
    made = Image.new("RGB", (len(chosen) * (2 * SIDE + 2 * GAP) - GAP, SIDE + FOOT), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(15)
    for n, (label, line) in enumerate(sorted(chosen.items())):
        view, left = cases[line["file"]].view, n * (2 * SIDE + 2 * GAP)
        marked = marked_view(view, draw_logo(), line["place"], line["scale"])
        for offset, picture, answer in ((0, view, label), (SIDE + 2, marked, line["after"]["resnet18"])):
            made.paste(Image.fromarray(picture).convert("RGB"), (left + offset, 0))
            draw.text((left + offset, SIDE + 4), f"model: {oracle.classes[answer]}", fill=INK, font=font)
    return made


def diagrams(curves: list[Curve]) -> str:
    """Small diagrams side by side, all from 0 to 1."""
    width, parts = len(curves) * (PANEL + EDGE) + 12, []
    for n, curve in enumerate(curves):
        left, top, bottom = n * (PANEL + EDGE) + EDGE, 24, PANEL
        xs, ys = zip(*curve.points)
        places = [left + (PANEL - 20) * i / (len(xs) - 1) for i in range(len(xs))]
        heights = [bottom - (bottom - top) * y for y in ys]
        for share in (0, 0.5, 1):
            y = bottom - (bottom - top) * share
            parts.append(f'<path d="M{left} {y}h{PANEL - 20}" stroke="{FAINT}"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{share:g}</text>')
        parts.append(f'<text x="{left}" y="14" font-weight="600">{html.escape(curve.name)}</text>')
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
