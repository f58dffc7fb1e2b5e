"""How many lesions are found, and how often an analyzer stays silent where none is, by how the client reads: by threshold and by peak.

    python benchmarks/threshold.py recipes/hidemia-busi-5.yaml WEIGHTS [--device DEVICE]

Images, photographs and order are those of the validation part of the recipe that the weights were trained by; no test image is looked
at. A row is a probability above which a pixel counts as marked. Reading at probability P is reading at 0.5 with the setting `threshold`
that is printed beside it; or else reading at 0.5, with the setting `peak`, what a region has to reach somewhere.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from privmed_analyzers.decoding import sure_regions
from torch import Tensor

from privmed import registry
from privmed.metrics import dice, silent
from privmed.pipeline import Pipeline, tuned_hider
from privmed.training import read_recipe
from privmed.training.make import make_task

PROBABILITIES = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
PEAKS = (0.9, 0.95, 0.98, 0.99)


@torch.no_grad()
def main() -> None:
    """Read every validation image once, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    recipe = read_recipe(options.recipe, ["start=null"])
    if recipe.task != "covert" or recipe.settings.get("classes") or recipe.settings.get("mask_classes"):
        parser.error(
            f"{options.recipe}: trains no analyzer that marks one foreground in hidden images; choose a recipe that does"
        )
    analyzer = registry.analyzer(recipe.method.partition(":")[2], weights=options.weights).to(options.device)
    task = make_task(recipe, options.device)
    walk, found, truth = Pipeline.covert(tuned_hider(analyzer).to(options.device), analyzer), [], []
    for n, item in enumerate(i for held in task.held for i in held):
        scan = task.place([task.full(item.image)])
        for k in range(2):
            found.append(walk(scan, task.held_cover(2 * n + k)).prediction.cpu())
            truth.append(task.truth([item], task.recipe.data.size).cpu())
    report(torch.cat(found), torch.cat(truth), analyzer.config.gain, analyzer.config.threshold)


def report(found: Tensor, truth: Tensor, gain: float, threshold: float) -> None:
    """A row a probability, and a row a peak."""
    empty = truth.flatten(1).amax(1) == 0
    print(f"{int((~empty).sum())} answers to scans with a lesion, {int(empty.sum())} to scans without")
    print("probability  threshold   Dice  missed  silent where nothing is")
    for p in PROBABILITIES:
        same = threshold + math.log(p / (1 - p)) / gain
        print(f"{p:11.2f}  {same:9.3f}  {row(found > p, truth, empty)}")
    print("       peak              Dice  missed  silent where nothing is")
    for p in PEAKS:
        print(f"{p:11.3f}             {row(sure_regions(found.logit(), p) > 0, truth, empty)}")


def row(marked: Tensor, truth: Tensor, empty: Tensor) -> str:
    """What is found, missed, and left alone."""
    marks, quiet = marked.float(), silent(marked.float()).float()
    same = float(dice(marks[~empty], truth[~empty]).mean())
    return f"{same:5.3f}  {float(quiet[~empty].mean()):6.3f}  {float(quiet[empty].mean()):6.3f}"


if __name__ == "__main__":
    main()
