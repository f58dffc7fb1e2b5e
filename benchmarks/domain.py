"""Put statistics of the training images into the cards of shipped analyzers, and see whom they would warn.

    python benchmarks/domain.py --data DIR [--weights busi isic cxr] [--limit N] [--measure-only]

Statistics and thresholds come from the training split and the training photographs alone: every second scan squashed to 224 x 224, as
the weights were trained, the others as they lie in their files, as clients hide them. The rates printed are of test splits as they lie
in their files: the analyzer's own set, other ones, and photographs in which nothing is hidden. The card is written in place; its weights,
and so its sha256, stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import privmed
from privmed.covert.domain import unfamiliar_output, unfamiliar_secret
from privmed.data.folders import ImageFolder
from privmed.data.pixels import PictureStore, as_batch
from privmed.files import whole_file
from privmed.imaging import read
from privmed.interfaces import Analyzer, Hider, validation
from privmed.pipeline import analyze, bare, hide, png, recover, tuned_hider
from privmed.training.domain import describe
from privmed.weights import card_path

SIZE = 224
COVERS = ("covers", "photos")
SCANS = {
    "busi": (("busi", {}), ("busi-cls", {"only": "normal", "masks": "none"})),
    "isic": (("isic", {}),),
    "cxr": (("cxr", {}),),
}
OTHERS = {
    "busi": ("isic", "fundus-vessel", "cxr-lung"),
    "isic": ("busi", "fundus-vessel", "polyp"),
    "cxr": ("busi", "isic", "fundus-vessel"),
}


def main() -> None:
    """Describe, write, and measure whom it warns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with busi, isic, covers, ...")
    parser.add_argument("--weights", nargs="+", choices=sorted(OTHERS), default=sorted(OTHERS))
    parser.add_argument("--limit", type=int, default=12, help="test images of each other set")
    parser.add_argument("--measure-only", action="store_true", help="leave the cards as they are")
    options = parser.parse_args()
    for name in options.weights:
        analyzer = privmed.analyzer("hidemia", weights=name)
        hider = tuned_hider(analyzer)
        if not options.measure_only:
            analyzer.card["domain"] = describe(analyzer, hider, training_pairs(options.data, name))
            with whole_file(card_path(analyzer.source), overwrite=True) as temporary:
                temporary.write_text(json.dumps(analyzer.card, indent=2) + "\n", encoding="utf-8")
        measure(analyzer, hider, name, options)


def training_pairs(data: Path, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Scans of the training splits that the weights were trained on, each with a training photograph of either source in turn."""
    scans, photographs = PictureStore(SIZE, squash=True), PictureStore(SIZE)
    covers = [ImageFolder(data / source).items("train") for source in COVERS]
    items = [i for folder, how in SCANS[name] for i in ImageFolder(data / folder, **how).items("train")]
    for n, item in enumerate(items):
        scan = as_batch([scans(item.image)]) if n % 2 else validation.image("scan", read(item.image).tensor())
        source = covers[n // 2 % len(covers)]
        yield scan, as_batch([photographs.centre(source[n % len(source)].image)])


def measure(analyzer: Analyzer, hider: Hider, name: str, options: argparse.Namespace) -> None:
    """Print how many test images are warned of, by what is looked at."""
    covers = ImageFolder(options.data / "covers").items("test")
    for key in (name, *OTHERS[name], "covers"):
        items = ImageFolder(options.data / key).items("test")[: None if key == name else options.limit]
        scans = [item.image for item in items]
        report(name, f"{key}, hidden", [warned(analyzer, hider, path, covers[n].image) for n, path in enumerate(scans)])
    nothing = [warned(analyzer, hider, None, cover.image) for cover in covers[-options.limit :]]
    report(name, "nothing hidden", nothing)


@torch.no_grad()
def warned(analyzer: Analyzer, hider: Hider, scan: Path | None, cover: Path) -> tuple[bool, bool]:
    """Whether a client would be warned of the scan, and of what comes back; without a scan the photograph goes as it is."""
    photograph = read(cover).tensor()
    send, secret = (bare(), photograph) if scan is None else (hide(hider), read(scan).tensor())
    run = (send | png() | analyze(analyzer) | png() | recover(hider))(secret, photograph)
    return (
        scan is not None and bool(unfamiliar_secret(analyzer, run.secret, "scan")),
        bool(unfamiliar_output(analyzer, run.recovered, "scan")),
    )


def report(weights: str, what: str, seen: list[tuple[bool, bool]]) -> None:
    """One line: how many scans, answers, and either."""
    scan, answer = (sum(s[i] for s in seen) for i in range(2))
    print(f"{weights}: {what}: of {len(seen)}, scan {scan}, answer {answer}, either {sum(map(any, seen))}", flush=True)


if __name__ == "__main__":
    main()
