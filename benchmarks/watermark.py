"""The tables of MedLocker on our images: Tables 1 to 3 of the paper, its ablations, and what the lock is worth.

    python benchmarks/watermark.py --data DIR --part train             # the classifiers, into --runs
    python benchmarks/watermark.py --data DIR --part attack [--limit N]
    python benchmarks/watermark.py --data DIR --part speed lock

Classifiers are trained on the train split by recipes/diagnosis-*.yaml and attacked on test images that they have right. Runs what the
journals in ``--runs`` do not hold yet, and writes ``benchmarks/results/watermark-SET.json`` and ``watermark-lock.json``.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import privmed
from privmed.data.folders import ImageFolder
from privmed.evaluation.metrics import psnr
from privmed.evaluation.results import Figure, Results, figure, provenance
from privmed.evaluation.watermark import Case, Trial, asr, cases_of, interval, run_trial, tensor_of, transfer
from privmed.imaging.logo import draw_logo
from privmed.imaging.overlay import Overlay, blend, guess
from privmed.interfaces.watermarker import Task
from privmed.oracles import Ensemble, load_oracle

ARCHITECTURES = ("resnet18", "densenet121", "efficientnet-b0", "senet50", "vit")
ENSEMBLE = ARCHITECTURES[:4]  # transfer of the ensemble is measured on the one that is not in it
SETS = {"busi": "busi-cls", "cxr": "cxr"}
SIZE = 224
OUT = Path(__file__).parent / "results"
PAPER_ASR = {"resnet18": 0.7169, "densenet121": 0.6696, "vit": 0.6726, "ensemble": 0.5205}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with busi, busi-cls and cxr")
    parser.add_argument("--part", nargs="+", choices=["train", "attack", "speed", "lock"], required=True)
    parser.add_argument("--set", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--search", nargs="+", default=["hopping", "cma"], help="searches, the paper's first")
    parser.add_argument("--limit", type=int, help="test images of each set")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trainings and journals")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for name in options.set:
        if "train" in options.part:
            train(options, name)
        if "attack" in options.part:
            print(attack(options, name).save(options.out / f"watermark-{name}.json"), file=sys.stderr)
    if {"speed", "lock"} & set(options.part):
        figures = [
            *(speed(options) if "speed" in options.part else []),
            *(lock(options) if "lock" in options.part else []),
        ]
        results = Results(
            name="watermark-lock",
            title="Watermarks: what the search costs, and what the lock is worth",
            figures=figures,
            provenance=provenance(seeds=[0]),
        )
        print(results.save(options.out / "watermark-lock.json"), file=sys.stderr)


def weights(options: argparse.Namespace, name: str, architecture: str) -> Path:
    """Where a trained classifier lies."""
    return options.runs / f"diagnosis-{name}-{architecture}" / f"classifier-{name}-{architecture}.safetensors"


def train(options: argparse.Namespace, name: str) -> None:
    """Train what is not there yet, or go on with it."""
    from privmed.training import run

    for architecture in ARCHITECTURES:
        folder = weights(options, name, architecture).parent
        changes = [f"data.root={options.data}", f"name={name}-{architecture}", f"method=classifier:{architecture}"]
        resume = (folder / "checkpoint.pt").exists()
        print(run(f"recipes/diagnosis-{name}.yaml", overrides=changes, out=folder, resume=resume), file=sys.stderr)


def load(options: argparse.Namespace, name: str) -> tuple[dict, list[Case]]:
    """The models, and the test images with the lesions that are known."""
    models = {a: load_oracle(weights(options, name, a)) for a in ARCHITECTURES}
    models["ensemble"] = Ensemble([models[a] for a in ENSEMBLE])
    masks = {}
    if name == "busi":
        for mask in sorted((options.data / "busi/masks").glob("*.png")):
            masks[f"{mask.stem.partition('_')[0]}/{mask.name}"] = mask
    cases = cases_of(ImageFolder(options.data / SETS[name]), models["resnet18"].classes, SIZE, masks)
    step = max(1, len(cases) // options.limit) if options.limit else 1
    return models, cases[::step][: options.limit]


def attack(options: argparse.Namespace, name: str) -> Results:
    """Tables 1 to 3: each source, transfer to all others, and where the mark may lie."""
    models, cases = load(options, name)
    journal, figures = options.runs / f"watermark-{name}.jsonl", []
    for model in models:
        right = [float(models[model](tensor_of(c.view)).argmax() == c.label) for c in cases]
        figures.append(share("accuracy on clean test images", model, right, name))
    for search, source in itertools.product(options.search, models):
        settings = {"search": search} if search == "hopping" else {"search": search, "loss": "margin"}
        trial = Trial(source=source, settings=settings)
        lines = run_trial(
            trial, privmed.watermarker("medlocker", **settings), draw_logo(), models, cases, journal, tick=tick
        )
        paper = (
            {"reported": PAPER_ASR[source], "source": "MedLocker, Table 1 (EyePACS)"}
            if source in PAPER_ASR and search == "hopping"
            else {}
        )
        figures.append(share(f"ASR, {search}", source, asr(lines), name, target=0.75, **paper))
        figures.append(
            figure(
                f"queries, {search}", source, [r["queries"] for r in lines], data=name, over="images", better="lower"
            )
        )
        for target in models:
            hits = transfer(lines, target)
            if target not in (source, "ensemble") and not (source == "ensemble" and target in ENSEMBLE) and hits:
                more = {"target": 0.8} if source == "ensemble" else {}
                figures.append(share(f"transfer to {target}, {search}", source, hits, name, **more))
    if any(c.mask is not None for c in cases):
        for where, search in itertools.product(("outside", "inside", "anywhere"), ("hopping", "random")):
            trial = Trial(source="resnet18", settings={"search": search}, where=where)
            known = [c for c in cases if c.mask is not None]
            locker = privmed.watermarker("medlocker", search=search)
            lines = run_trial(trial, locker, draw_logo(), models, known, journal, tick=tick)
            covered = [r["covered"] for r in lines if r["covered"] is not None]
            assert where != "outside" or not any(covered), "a mark lies on a lesion"
            more = {"target": 0.4} if (where, search) == ("outside", "hopping") else {}
            figures.append(share(f"ASR with the mark {where}, {search}", "resnet18", asr(lines), name, **more))
            if covered:
                label = f"lesion covered with the mark {where}, {search}"
                figures.append(figure(label, "resnet18", covered, data=name, over="images", better="lower"))
    return Results(
        name=f"watermark-{name}",
        title=f"Adversarial watermarks on {SETS[name]}",
        figures=figures,
        provenance=provenance(data={name: ImageFolder(options.data / SETS[name]).digest("test")}, seeds=[0]),
        notes=[
            f"{len(cases)} test images of {SIZE} x {SIZE}; classifiers of 112 x 112 trained from scratch; ± is half of Wilson's 95 % "
            "interval of a share. ASR: of the images the model had right, those it errs on when marked. Transfer: of those, the ones "
            "another model errs on too."
        ],
    )


def share(name: str, method: str, values: list[float], data: str, **more) -> Figure:
    """A share with its interval in the name of the spread: half its width."""
    low, high = interval(values)
    mean = statistics.fmean(values) if values else 0.0
    return Figure(
        name=name,
        method=method,
        measured=mean,
        spread=(high - low) / 2,
        n=len(values),
        data=data,
        over="images",
        **more,
    )


def speed(options: argparse.Namespace) -> list[Figure]:
    """The whole search on images that cannot be fooled, against one query at a time in float32, as the ancestor of the method works."""
    models, cases = load(options, options.set[0])
    oracle, seen = models["resnet18"], {"ours": [], "ancestor": []}
    for case in cases[:4]:
        calls = []

        def stubborn(images, label=case.label, calls=calls):
            calls.append(len(images))
            answer = oracle(images)
            answer = answer * 0.1
            answer[:, label] += 0.9
            return answer

        locker = privmed.watermarker("medlocker")
        start = time.perf_counter()
        locker.place([Task(image=tensor_of(case.view), label=case.label, generator=0)], draw_logo(), stubborn)
        seen["ours"].append(time.perf_counter() - start)
        seen["ancestor"].append(one_by_one(oracle, case, sample=100) * 4150 / 100)
    ratio = sum(seen["ancestor"]) / sum(seen["ours"])
    label = "the whole search, against 4,150 single queries in float32"
    return [
        Figure(name=label, method="medlocker", measured=ratio, unit="x", n=4, target=30, data=options.set[0]),
        figure("time of a search that fails", "medlocker", seen["ours"], unit="s", data=options.set[0], better="lower"),
        figure(
            "time of 4,150 single queries (100 measured)", "ancestor", seen["ancestor"], unit="s", data=options.set[0]
        ),
    ]


def one_by_one(oracle, case: Case, sample: int) -> float:
    """Seconds for queries of one blended image each, in float32."""
    rng = np.random.default_rng(0)
    locker = privmed.watermarker("medlocker")
    job = locker._course(Task(image=tensor_of(case.view), label=case.label, generator=0), draw_logo()).job
    rows, columns = job.places.shape
    start = time.perf_counter()
    for _ in range(sample):
        candidate = np.array([rng.integers(100, 256), rng.integers(columns), rng.integers(rows)])
        marked = blend(case.view, job.overlay(candidate), 255)
        with torch.no_grad():
            oracle.network(oracle_input(oracle, marked))
    return time.perf_counter() - start


def oracle_input(oracle, view: np.ndarray) -> torch.Tensor:
    """What a model is given, without the reduced precision of :class:`privmed.oracles.Oracle`."""
    from privmed.nn.classifiers import prepare

    return prepare(tensor_of(view).expand(-1, 3, -1, -1), oracle.declaration.size, oracle._mean, oracle._deviation)


def lock(options: argparse.Namespace) -> list[Figure]:
    """What a thief gets without the key: by guessing one opacity, and by painting over the mark."""
    models, cases = load(options, options.set[0])
    oracle, figures = models["resnet18"], []
    for veil in (0, 60):
        guessed, inpainted, marked_right, inpainted_right = [], [], [], []
        locker = privmed.watermarker("medlocker", veil=veil, population=12, generations=1)
        for n, case in enumerate(cases[:24]):
            made = locker.embed(tensor_of(case.view), draw_logo(), oracle, case.label, generator=n)
            found = steal(made, case)
            window = made.record["place"]
            guessed.append(inside(found, case.view, window))
            painted = inpaint(made, case)
            inpainted.append(inside(painted, case.view, window))
            for view, hits in ((values(made.image), marked_right), (painted, inpainted_right)):
                hits.append(float(oracle(tensor_of(view)).argmax() == case.label))
        about = {"data": options.set[0], "over": "images"}
        label = f"veil {veil}"
        figures += [
            figure(
                "PSNR under the mark after guessing one opacity", label, guessed, unit="dB", better="lower", **about
            ),
            figure("PSNR under the mark after inpainting", label, inpainted, unit="dB", better="lower", **about),
            share("accuracy on marked images", label, marked_right, options.set[0], better="lower"),
            share("accuracy after inpainting", label, inpainted_right, options.set[0], better="lower"),
        ]
    return figures


def steal(made, case: Case) -> np.ndarray:
    """Try all opacities with the logo in hand; keep the one whose inside is smoothest across the edge of the mark."""
    x, y, width, height = made.record["place"]
    locker = privmed.watermarker("medlocker")
    job = locker._course(Task(image=made.image, label=case.label), draw_logo()).job
    marked, best = values(made.image), (np.inf, None)
    for limit in range(100, 255):
        overlay = Overlay(x, y, np.minimum(job.opacity, limit).astype(np.uint8), job.colour)
        out = marked.copy()
        out[overlay.window] = guess(marked, overlay, 255).astype(np.uint8)
        edge = np.diff((job.opacity > 0).astype(int), axis=1) != 0
        patch = out[y : y + height, x : x + width].astype(int)
        jump = np.abs(np.diff(patch, axis=1))
        score = float((jump if jump.ndim == 2 else jump.mean(2))[edge].mean())
        best = min(best, (score, limit), key=lambda pair: pair[0])
    overlay = Overlay(x, y, np.minimum(job.opacity, best[1]).astype(np.uint8), job.colour)
    out = marked.copy()
    out[overlay.window] = guess(marked, overlay, 255).astype(np.uint8)
    return out


def inpaint(made, case: Case) -> np.ndarray:
    """Paint over what differs from the surroundings: the visible part of the mark."""
    from skimage.restoration import inpaint_biharmonic

    x, y, width, height = made.record["place"]
    job = privmed.watermarker("medlocker")._course(Task(image=made.image, label=case.label), draw_logo()).job
    marked, mask = values(made.image), np.zeros(case.view.shape[:2], bool)
    mask[y : y + height, x : x + width] = job.opacity > 0
    low, high = max(0, y - 16), y + height + 16
    left, right = max(0, x - 16), x + width + 16
    part, hole = marked[low:high, left:right] / 255, mask[low:high, left:right]
    filled = inpaint_biharmonic(part, hole, channel_axis=-1 if marked.ndim == 3 else None)
    out = marked.copy()
    out[low:high, left:right] = np.clip(np.rint(filled * 255), 0, 255)
    return out


def values(image: torch.Tensor) -> np.ndarray:
    """(1, C, H, W) in [0, 1] as 8-bit integers."""
    planes = (image[0] * 255).round().byte().numpy()
    return np.moveaxis(planes, 0, 2) if len(planes) == 3 else planes[0]


def inside(found: np.ndarray, original: np.ndarray, window: list[int]) -> float:
    """PSNR within the rectangle of the mark."""
    x, y, width, height = window
    a, b = (tensor_of(np.ascontiguousarray(v[y : y + height, x : x + width])) for v in (found, original))
    return float(psnr(a, b))


def tick(done: int, total: int, words: str) -> None:
    """Say how far it is."""
    print(f"\r{words}: {done} of {total}    ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
