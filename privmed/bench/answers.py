"""What analyzers answer, judged against the truth: masks of one foreground or of several classes, or classes of whole images."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from privmed.bench.contracts import Metric, Value
from privmed.bench.data import Dataset, Sample, truth
from privmed.errors import SettingsError
from privmed.interfaces import Analyzer
from privmed.metrics import auc, class_dice, foreground_dice
from privmed.pipeline import average

DIGITS = 5  # of the figures of single images that records keep
LOOK = 16  # side at which masks are looked at before they are needed
POOLED = ("dice", "accuracy", "silent", "missed", "false-area")  # metrics of the averaged answer, too


class Answers(ABC):
    """The answers to the images of a data set, taken in one by one.

    Args:
        metrics: that judge them.
        size: sides of the images.
    """

    measures: str

    def __init__(self, metrics: list[Metric], size: int) -> None:
        self.metrics, self.size = metrics, size

    @abstractmethod
    def truth(self, sample: Sample) -> Tensor:
        """What is right, for one image."""

    def judged(self, found: Tensor, right: Tensor) -> dict[str, Tensor]:
        """Every metric of the answers behind several covers, (covers,) each."""
        return self.rated(found, right)

    def rated(self, found: Tensor, right: Tensor) -> dict[str, Tensor]:
        """The same without taking the answers in. What is of one class is called ``METRIC:CLASS``."""
        return {m.name: m(found, right.expand(len(found), *right.shape[1:])) for m in self.metrics}

    def together(self, found: Tensor, right: Tensor) -> dict[str, Tensor]:
        """The answers behind several covers as one, averaged before the threshold: how right it is, and how they disagree, (1,) each."""
        said = average(found.cpu().split(1))
        rated = self.rated(said.prediction, right.cpu())
        return {f"{name}-together": v for name, v in rated.items() if name in POOLED} | {
            "disagreement": said.disagreement
        }

    def whole(self) -> list[Value]:
        """Figures that only all answers together have."""
        return []


class Masks(Answers):
    """Probabilities (B, 1, H, W) of one foreground."""

    measures = "masks"

    def truth(self, sample: Sample) -> Tensor:
        """The mask, (1, 1, size, size)."""
        return truth(sample, self.size)[None]


class Labels(Answers):
    """Probabilities (B, classes, H, W), of which the first is the background: Dice of every other class, and their mean in an image."""

    measures = "masks"

    def __init__(self, size: int, classes: int) -> None:
        super().__init__([], size)
        self.classes = classes

    def truth(self, sample: Sample) -> Tensor:
        """The numbers of the classes of its pixels, (1, 1, size, size)."""
        assert sample.numbers is not None  # check_answers has seen to it
        return sample.numbers(self.size, self.classes)[None]

    def rated(self, found: Tensor, right: Tensor) -> dict[str, Tensor]:
        right = right.expand(len(found), -1, -1, -1).to(found.device)
        each = class_dice(found, right)
        return {"dice": foreground_dice(found, right)} | {f"dice:{k}": each[:, k] for k in range(1, self.classes)}


class Classes(Answers):
    """Probabilities (B, classes), in the alphabetical order of the data set's classes."""

    measures = "classes"

    def __init__(self, metrics: list[Metric], size: int, names: list[str]) -> None:
        super().__init__(metrics, size)
        self.names = names
        self.found: list[Tensor] = []
        self.right: list[Tensor] = []

    def truth(self, sample: Sample) -> Tensor:
        """The number of its class, (1,)."""
        return torch.tensor([self.names.index(sample.label or "")])

    def judged(self, found: Tensor, right: Tensor) -> dict[str, Tensor]:
        found = found.cpu()
        self.found.append(found)
        self.right.append(right.expand(len(found)))
        return self.rated(found, right)

    def whole(self) -> list[Value]:
        """The area under the ROC curve over all answers, where the images are not all of one class."""
        found, right = torch.cat(self.found), torch.cat(self.right)
        if len(right.unique()) < 2:
            return []
        return [Value(metric="auc", value=auc(found, right), n=len(self.found))]


def classes_of(dataset: Dataset) -> list[str]:
    """Names of the classes of a data set, in alphabetical order; none where an image has none."""
    names = {s.label for s in dataset.samples}
    return [] if None in names else sorted(name for name in names if name is not None)


def check_answers(label: str, server: Analyzer, dataset: Dataset) -> None:
    """Refuse an analyzer whose answers nothing in a data set can judge.

    Raises:
        InputError: for masks that hold numbers of no class.
        SettingsError: for masks where there are none, and other classes than the set has.
    """
    count = getattr(server.config, "classes", 0)
    for sample in dataset.part("test") if (several := getattr(server.config, "mask_classes", 0)) else ():
        if sample.numbers is None:
            raise SettingsError(
                f"entry {label!r}: outlines several classes, but data set {dataset.name} has no masks that hold their numbers."
            )
        sample.numbers(LOOK, several)  # refuses numbers of no class, before anything is trained
    names = classes_of(dataset)
    if count and not names:
        raise SettingsError(
            f"entry {label!r}: tells classes, but data set {dataset.name} has none: no sub-folder for each."
        )
    if count and len(names) != count:
        raise SettingsError(
            f"entry {label!r}: tells {count} classes, but data set {dataset.name} has {len(names)}: {', '.join(names)}."
        )
    if not count and any(s.mask is None for s in dataset.part("test")):
        raise SettingsError(
            f"data set {dataset.name}: has no masks, which entry {label!r} is judged by. If it is to tell classes, set classes."
        )


def foretold(disagreement: list[Tensor], dice: list[Tensor]) -> list[Value]:
    """How well disagreement tells a bad answer: its rank correlation with Dice over images (Spearman), -1 at best.

    There is none where either is all the same, or of fewer than three images.
    """
    from scipy.stats import spearmanr

    both = torch.stack([torch.cat(disagreement), torch.cat(dice)]).double()
    both = both[:, both.isfinite().all(0)]
    if both.shape[1] < 3 or bool((both.std(1) == 0).any()):
        return []
    return [Value(metric="foretold", value=float(spearmanr(*both.numpy()).statistic), n=both.shape[1], over="images")]


def averaged(key: str, values: list[Tensor]) -> list[Value]:
    """Mean over covers, then over images, of a metric; infinite ones, of images that it is not for, are left out."""
    kept = [v[torch.isfinite(v)].double() for v in values]
    means = [v.mean() for v in kept if len(v)]
    if not means:
        return []
    images = torch.stack(means)
    spread = float(images.std()) if len(images) > 1 else None
    each = [round(float(v.mean()), DIGITS) if len(v) else None for v in kept]
    return [Value(metric=key, value=float(images.mean()), n=len(images), spread=spread, over="images", each=each)]
