"""One answer for all images: what whoever analyses has to beat, since it takes no look at any image."""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import one_hot

from privmed.bench.answers import Labels, Masks, classes_of
from privmed.bench.data import Dataset
from privmed.bench.exploiters import constant_baseline
from privmed.errors import SettingsError
from privmed.interfaces import BareAnalyzer
from privmed.settings import at_least, setting, structure

CONSTANT = "constant"  # what it is called in plans, in a method's place
SURE = 20.0  # a logit


@frozen(kw_only=True)
class ConstantConfig:
    """What is answered."""

    classes: int = setting(0, "0 for masks, else the number of classes", at_least(0))
    mask_classes: int = setting(
        0, "0 for one foreground, else the classes to segment, background among them", at_least(0)
    )


class Constant(BareAnalyzer):
    """The one mask or class that does best on the training images of a set.

    Args:
        config: what is answered.
        answer: logits, (1, 1 or K, S, S) or (1, classes).
    """

    name = CONSTANT
    Config = ConstantConfig

    def __init__(self, config: ConstantConfig, answer: Tensor) -> None:
        super().__init__(config)
        self.answer = answer

    def _segment(self, image: Tensor) -> Tensor:
        return self.answer.to(image.device).expand(len(image), *self.answer.shape[1:])


def constant(dataset: Dataset, size: int, settings: dict[str, Any], where: str) -> Constant:
    """Choose the answer on the training part of a data set.

    Args:
        dataset: with masks, maps of classes, or classes.
        size: sides that masks are scaled to.
        settings: those of an entry, ``classes`` or ``mask_classes``.
        where: they stand, for messages.

    Returns:
        One that answers with logits of the best mask, the best map or the commonest class; of a set without such a truth, that nothing is
        there.

    Raises:
        InputError: when the set has no training part.
        SettingsError: for settings that do not exist, and a single class.
    """
    config, samples = structure(ConstantConfig, settings, where), dataset.part("train")
    if 1 in (config.classes, config.mask_classes):
        raise SettingsError(f"{where}: classes and mask_classes must be 0 or at least 2, got 1.")
    if config.classes:
        names = classes_of(dataset)
        right = torch.tensor([names.index(s.label) if s.label in names else 0 for s in samples])
        return Constant(config, SURE * one_hot(right.mode().values, max(len(names), config.classes))[None].float())
    if config.mask_classes:
        maps = Labels(size, config.mask_classes)
        right = [maps.truth(s) for s in samples if s.numbers is not None] or [torch.zeros(1, 1, size, size)]
        return Constant(config, SURE * _labels(torch.cat(right), config.mask_classes).float())
    masks = Masks([], size)
    right = torch.cat([masks.truth(s) for s in samples if s.mask is not None] or [torch.zeros(1, 1, size, size)])
    return Constant(config, SURE * (2 * constant_baseline(right, right[:1]) - 1))


def _labels(right: Tensor, classes: int) -> Tensor:
    """The map of class numbers as one hot (1, classes, S, S): each class where its own best mask lies, the more frequent one first."""
    often = torch.stack([(right == k).float().mean(0)[0] for k in range(1, classes)])
    masks = torch.stack([constant_baseline((right == k).float(), right[:1])[0, 0] for k in range(1, classes)])
    best = (often * masks).max(0)
    numbers = torch.where(best.values > 0, best.indices + 1, 0)
    return one_hot(numbers, classes).permute(2, 0, 1)[None]
