"""Scores of analyzers on a validation part: of what is found, and apart from it where there is nothing to find."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.metrics import accuracy, auc, class_dice, dice, foreground_dice, marked_area, silent
from privmed.pipeline import Run

Figures = dict[str, float]


class Scores:
    """Figures of a validation part, taken in image by image."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self.truth: list[Tensor] = []
        self.rows: dict[str, list[Tensor]] = {}

    def add(self, found: Tensor, truth: Tensor) -> None:
        """Take in probabilities, as :meth:`Analyzer.decode` gives them, and what is right: masks (B, 1, H, W) or classes (B,)."""
        if found.ndim == 2:
            self._note("accuracy", accuracy(found, truth))
            self.found.append(found.cpu())
            self.truth.append(truth.cpu())
            return
        empty = truth.flatten(1).amax(1) == 0
        several = found.shape[1] > 1
        self._note("dice", (foreground_dice if several else dice)(found[~empty], truth[~empty]))
        self._note("false_area", marked_area(found[empty]))
        self._note("silent", silent(found[empty]).float())
        if several:
            each = class_dice(found, truth)
            for k in range(1, found.shape[1]):
                self._note(f"dice_{k}", each[:, k][~each[:, k].isnan()])

    def add_nothing(self, hidden: Run, nothing: Run) -> None:
        """Take in what was read where a scan was hidden and where none was, and how often the client was told that there is none."""
        if nothing.prediction.ndim == 4:
            self._note("nothing_area", marked_area(nothing.prediction))
            self._note("nothing_silent", silent(nothing.prediction).float())
        if nothing.presence is not None:
            self._note("nothing_refused", (nothing.presence < 0.5).float())
            self._note("hidden_refused", (hidden.presence < 0.5).float())

    def figures(self) -> Figures:
        """Means over the images; ``score`` is the one to maximise.

        Of masks it is the mean over all images of their Dice, where one without anything to find counts 1 if the answer is silent, else 0.
        """
        out = {name: float(torch.cat(rows).mean()) for name, rows in self.rows.items()}
        if self.found:
            return {**out, **ranked(torch.cat(self.found), torch.cat(self.truth)), "score": out["accuracy"]}
        judged = [*self.rows.get("dice", []), *self.rows.get("silent", [])]
        return {**out, "score": float(torch.cat(judged).mean()) if judged else 0.0}

    def _note(self, name: str, values: Tensor) -> None:
        if len(values):
            self.rows.setdefault(name, []).append(values.float().cpu())


def ranked(found: Tensor, truth: Tensor) -> Figures:
    """The area under the ROC curve of probabilities (N, classes), where the images are not all of one class."""
    return {"auc": auc(found, truth)} if len(truth.unique()) > 1 else {}
