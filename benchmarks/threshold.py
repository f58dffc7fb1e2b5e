"""How many lesions are found, and how often an analyzer stays silent where none is, by the threshold that the client reads with.

    python benchmarks/threshold.py recipes/hidemia-busi-5.yaml WEIGHTS [--write T] [--device DEVICE]

Images, photographs and order are those of the validation part of the recipe that the weights were trained by; no test image is looked
at. A row is a probability above which a pixel counts as marked. Reading at probability P is reading at 0.5 with the setting `threshold`
that is printed beside it: `--write T` puts it into the weights' card, in place, with the figures of its validation. The weights, and so
their sha256, stay.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from torch import Tensor

from privmed import registry
from privmed.files import whole_file
from privmed.metrics import dice, silent
from privmed.pipeline import Pipeline, tuned_hider
from privmed.training import read_recipe
from privmed.training.make import make_task
from privmed.training.scores import Scores
from privmed.weights import card_path

PROBABILITIES = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


@torch.no_grad()
def main() -> None:
    """Print the table, or write a threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--write", type=float, help="the setting to put into the card")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    analyzer = registry.analyzer("hidemia", weights=options.weights).to(options.device)
    task = make_task(read_recipe(options.recipe, ["start=null"]), options.device)
    walk, found, truth = Pipeline.covert(tuned_hider(analyzer).to(options.device), analyzer), [], []
    for n, item in enumerate(i for held in task.held for i in held):
        scan = task.place([task.full(item.image)])
        for k in range(2):
            found.append(walk(scan, task.held_cover(2 * n + k)).prediction.cpu())
            truth.append(task.truth([item], task.recipe.data.size).cpu())
    gain, threshold = analyzer.config.gain, analyzer.config.threshold
    report(torch.cat(found), torch.cat(truth), gain, threshold)
    if options.write is not None:
        scores = Scores()
        scores.add((torch.cat(found).logit() - gain * (options.write - threshold)).sigmoid(), torch.cat(truth))
        analyzer.card["config"]["threshold"] = options.write
        analyzer.card["validation"] |= {k: round(v, 4) for k, v in scores.figures().items()}
        with whole_file(card_path(analyzer.source), overwrite=True) as temporary:
            temporary.write_text(json.dumps(analyzer.card, indent=2) + "\n", encoding="utf-8")


def report(found: Tensor, truth: Tensor, gain: float, threshold: float) -> None:
    """A row a probability."""
    empty = truth.flatten(1).amax(1) == 0
    print(f"{int((~empty).sum())} answers to scans with a lesion, {int(empty.sum())} to scans without")
    print("probability  threshold   Dice  missed  silent where nothing is")
    for p in PROBABILITIES:
        marks = (found > p).float()
        same = threshold + math.log(p / (1 - p)) / gain
        quiet = silent(marks).float()
        row = (
            float(dice(marks[~empty], truth[~empty]).mean()),
            float(quiet[~empty].mean()),
            float(quiet[empty].mean()),
        )
        print(f"{p:11.2f}  {same:9.3f}  {row[0]:5.3f}  {row[1]:6.3f}  {row[2]:6.3f}")


if __name__ == "__main__":
    main()
