"""How visible protectors without a fit are, on grey and on coloured images: ``python benchmarks/visible.py --data DATA``.

CIEDE2000 between a pixel and what is published of it, over those that change, beside the PSNR of whole images. Writes
``benchmarks/results/visible.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from privmed import registry
from privmed.bench.data import picture, truth
from privmed.bench.readers import read_dataset
from privmed.bench.records import Measurement
from privmed.bench.scripted import measured, publish
from privmed.bench.suites.detection import spread
from privmed.metrics import colour_difference, psnr

HERE = Path(__file__).parent
METHODS = {"noise": {"where": "both"}, "tint": {}, "waves": {}}
SETS = {"busi": 1, "busi, in colour": 3, "isic": 3, "polyp": 3}  # channels that are published


def sample(folder: Path, channels: int, size: int, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training images of a set, an even sample, and their masks."""
    chosen = spread(read_dataset(folder).part("train"), limit)
    images = torch.stack([picture(s, size)[:channels] for s in chosen]).float() / 255
    return images, torch.stack([truth(s, size) for s in chosen])


@torch.no_grad()
def looks(data: str, name: str, images: torch.Tensor, masks: torch.Tensor) -> list[Measurement]:
    """Figures of one protector on one set."""
    protector = registry.create("protector", name, None, **METHODS[name])
    protected = torch.cat([protector.protect(x, m) for x, m in zip(images.split(1), masks.split(1))])
    out = []
    for metric, unit, values in (
        ("ciede2000", "", colour_difference(protected, images)),
        ("psnr", "dB", psnr(protected, images)),
    ):
        more = {"n": len(values), "spread": float(values.std()), "over": "images"}
        out.append(measured(metric, name, float(values.mean()), data, unit=unit, **more))
    return out


def main() -> None:
    """Protect, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--limit", type=int, default=20, help="training images of each set, an even sample")
    options = parser.parse_args()
    found, digests = [], {}
    for data, channels in SETS.items():
        folder = options.data / data.partition(",")[0]
        digests[data] = read_dataset(folder).digest("train")
        images, masks = sample(folder, channels, options.size, options.limit)
        for name in METHODS:
            found += looks(data, name, images, masks)
            print(f"{data}, {name}: " + ", ".join(f"{m.value:.2f}" for m in found[-2:]), file=sys.stderr)
    print(publish(HERE / "results" / "visible.jsonl", found, data=digests))


if __name__ == "__main__":
    main()
