"""What the search of MedLocker costs, and what its lock is worth to a thief.

    python benchmarks/lock.py --data DIR [--runs runs]

Needs the ResNet-18 that ``make models`` trains on busi-cls. Writes ``benchmarks/results/watermark-lock.jsonl``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import privmed
from privmed.bench.cases import Case, cases_of
from privmed.bench.readers import read_dataset
from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish
from privmed.imaging.integers import to_integers, to_tensor
from privmed.imaging.logo import FittedLogo, draw_logo
from privmed.imaging.overlay import blend, guess
from privmed.interfaces.search import Problem
from privmed.interfaces.watermarker import Task
from privmed.metrics import psnr
from privmed.nn.classifiers import prepare
from privmed.oracles import Oracle, load_oracle

SIZE, SEARCHED, LOCKED = 224, 8, 24
DATA = "busi-cls"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi-cls")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trained classifier lies")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    oracle = load_oracle(options.runs / "diagnosis-busi-resnet18/classifier-busi-resnet18.safetensors")
    dataset = read_dataset(options.data / DATA)
    cases = [c for c in cases_of(dataset, oracle.classes, SIZE) if int(oracle(to_tensor(c.view)).argmax()) == c.label]
    cases = [cases[n * len(cases) // LOCKED] for n in range(LOCKED)]
    found = [*speed(oracle, cases[:: LOCKED // SEARCHED]), *lock(oracle, cases)]
    path = options.out / "watermark-lock.jsonl"
    print(publish(path, found, data={DATA: dataset.digest("test")}), file=sys.stderr)


def speed(oracle: Oracle, cases: list[Case]) -> list[Measurement]:
    """The whole search on images that cannot be fooled, against one query at a time in float32, as the method's ancestor works."""

    def stubborn(images: torch.Tensor) -> torch.Tensor:
        answer = oracle(images) * 0
        answer[:, 0] = 1  # the answer costs what it costs, and no mark ever succeeds
        return answer

    locker, seen = privmed.watermarker("medlocker"), {"ours": [], "ancestor": [], "queries": []}
    for turn in range(4):  # the first one warms up; both sides take turns, so that a busy machine is busy for both
        start = time.perf_counter()
        tasks = [Task(image=to_tensor(c.view), label=0, generator=n) for n, c in enumerate(cases)]
        placed = locker.place(tasks, draw_logo(), stubborn)
        ours = (time.perf_counter() - start) / len(cases)
        ancestor = statistics.fmean(one_by_one(oracle, c, sample=25) * 4150 / 25 for c in cases)
        if turn:
            seen["ours"].append(ours)
            seen["ancestor"].append(ancestor)
    seen["queries"] = [p.queries for p in placed]
    ratios = [b / a for a, b in zip(seen["ours"], seen["ancestor"])]
    whole = {"spread": (max(ratios) - min(ratios)) / 2, "n": len(ratios), "over": "turns", "unit": "x"}
    what = "the whole search, against 4,150 single queries in float32"
    return [
        measured("speedup", "medlocker", statistics.median(ratios), DATA, what=what, **whole),
        averaged("queries", "medlocker", seen["queries"], what="of a search that fails"),
        averaged(
            "time", "medlocker", seen["ours"], "turns", what="of a search that fails, each of eight together", unit="s"
        ),
        averaged(
            "time", "ancestor", seen["ancestor"], "turns", what="of 4,150 single queries (200 measured)", unit="s"
        ),
    ]


def averaged(metric: str, method: str, values: list[float], over: str = "images", **more: str) -> Measurement:
    """A mean with its standard deviation."""
    about = {"n": len(values), "spread": statistics.stdev(values), "over": over}
    return measured(metric, method, statistics.fmean(values), DATA, **about, **more)


def one_by_one(oracle: Oracle, case: Case, sample: int) -> float:
    """Seconds for queries of one blended image each, in float32."""
    rng = np.random.default_rng(0)
    logo = fitted(case.view)
    rows, columns = (n - m + 1 for n, m in zip(case.view.shape, logo.shape))
    start = time.perf_counter()
    for _ in range(sample):
        limit, x, y = rng.integers(100, 256), rng.integers(columns), rng.integers(rows)
        marked = to_tensor(blend(case.view, logo.at(x, y, limit), 255)).expand(-1, 3, -1, -1)
        with torch.no_grad():
            oracle.network(prepare(marked, oracle.spec.size, oracle._mean, oracle._deviation))
    return time.perf_counter() - start


def lock(oracle: Oracle, cases: list[Case]) -> list[Measurement]:
    """What a thief gets without the key: by guessing one opacity, and by painting over the mark."""
    figures = []
    for jitter in (0, 60):
        found = {name: [] for name in ("guessed", "painted", "seconds", "marked", "guess_right", "paint_right")}
        locker = privmed.watermarker("medlocker", jitter=jitter)
        for n, case in enumerate(cases):
            made = locker.embed(to_tensor(case.view), draw_logo(), oracle, case.label, generator=n)
            window, start = made.record["place"], time.perf_counter()
            guessed = steal(made, case)
            found["seconds"].append(time.perf_counter() - start)
            painted = inpaint(made, case)
            found["guessed"].append(inside(guessed, case.view, window))
            found["painted"].append(inside(painted, case.view, window))
            views = {"marked": to_integers(made.image), "guess_right": guessed, "paint_right": painted}
            for name, view in views.items():
                found[name].append(float(oracle(to_tensor(view)).argmax() == case.label))
        label = f"veil {jitter}"  # the name of the setting when this was first published
        guess, paint = "guessing one opacity", "inpainting"
        figures += [
            averaged("psnr-under", label, found["guessed"], attack=guess, unit="dB"),
            averaged("psnr-under", label, found["painted"], attack=paint, unit="dB"),
            averaged("time", label, found["seconds"], what="to guess", unit="s"),
        ]
        for attack, key in (("none", "marked"), (guess, "guess_right"), (paint, "paint_right")):
            right, count = statistics.fmean(found[key]), len(found[key])
            figures.append(measured("accuracy", label, right, DATA, attack=attack, n=count, over="images"))
    return figures


def steal(made, case: Case) -> np.ndarray:
    """Try all opacities with the logo in hand; keep the one whose inside is smoothest across the edge of the mark."""
    x, y, width, height = made.record["place"]
    logo = fitted(case.view)
    marked, best = to_integers(made.image), (np.inf, None)
    for limit in range(100, 256):
        overlay = logo.at(x, y, limit)
        out = marked.copy()
        out[overlay.window] = guess(marked, overlay, 255).astype(np.uint8)
        patch = out[y : y + height, x : x + width].astype(int).reshape(height, width, -1)
        score = 0.0
        for axis in (0, 1):
            edge = np.diff((logo.opacity > 0).astype(int), axis=axis) != 0
            score += float(np.abs(np.diff(patch, axis=axis)).mean(2)[edge].mean())
        best = min(best, (score, limit), key=lambda pair: pair[0])
    overlay = logo.at(x, y, best[1])
    out = marked.copy()
    out[overlay.window] = guess(marked, overlay, 255).astype(np.uint8)
    return out


def inpaint(made, case: Case) -> np.ndarray:
    """Paint over what differs from the surroundings: the visible part of the mark."""
    from skimage.restoration import inpaint_biharmonic

    x, y, width, height = made.record["place"]
    logo = fitted(case.view)
    marked, mask = to_integers(made.image), np.zeros(case.view.shape[:2], bool)
    mask[y : y + height, x : x + width] = logo.opacity > 0
    low, high = max(0, y - 16), y + height + 16
    left, right = max(0, x - 16), x + width + 16
    part, hole = marked[low:high, left:right] / 255, mask[low:high, left:right]
    filled = inpaint_biharmonic(part, hole, channel_axis=-1 if marked.ndim == 3 else None)
    out = marked.copy()
    out[low:high, left:right] = np.clip(np.rint(filled * 255), 0, 255)
    return out


def fitted(view: np.ndarray) -> FittedLogo:
    """The logo as the method lays it on an image."""
    return Problem(view=view, logo=draw_logo()).fitted_logo()


def inside(found: np.ndarray, original: np.ndarray, window: list[int]) -> float:
    """PSNR within the rectangle of the mark."""
    x, y, width, height = window
    a, b = (to_tensor(np.ascontiguousarray(v[y : y + height, x : x + width])) for v in (found, original))
    return float(psnr(a, b))


if __name__ == "__main__":
    main()
