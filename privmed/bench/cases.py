"""Images that watermarks are judged on: with a class each, and maybe a mask that another set lends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attrs import field, frozen

from privmed.bench.data import Dataset, Sample, picture, truth
from privmed.data.keyring import NEAR, distance, look
from privmed.errors import InputError


@frozen(kw_only=True)
class Case:
    """An image with its class, and where its lesion is, if known."""

    name: str
    view: np.ndarray = field(repr=False)  # (H, W) or (H, W, 3) uint8
    label: int
    mask: np.ndarray | None = field(default=None, repr=False)


def cases_of(dataset: Dataset, classes: list[str], size: int, masks: Dataset | None = None) -> list[Case]:
    """Test images of a set with classes, squashed to one size.

    Args:
        dataset: the set.
        classes: names, in the order of the models' outputs.
        size: side.
        masks: a segmentation set that lends its masks to images of the same name, if they show the same picture.

    Raises:
        InputError: for an image of no class, or of one that the models do not know; when a set of masks fits no image.
    """
    samples = dataset.part("test")
    for sample in samples:
        if sample.label not in classes:
            what = "has no class" if sample.label is None else f"is of class {sample.label!r}"
            raise InputError(f"{sample.name}: {what}, but the model knows {', '.join(classes)}.")
    lent = {} if masks is None else lent_masks(samples, masks)
    if masks is not None and not lent:
        raise InputError(f"{masks.origin}: no mask there has the name of a test image of {dataset.origin}.")
    return [_case(s, lent.get(s.name, s), classes, size) for s in samples]


def _case(sample: Sample, masked: Sample, classes: list[str], size: int) -> Case:
    pixels = np.moveaxis(picture(sample, size).numpy(), 0, 2)
    grey = (pixels == pixels[..., :1]).all()
    return Case(
        name=sample.name,
        view=np.ascontiguousarray(pixels[..., 0] if grey else pixels),
        label=classes.index(sample.label),
        mask=None if masked.mask is None else truth(masked, size)[0].numpy(),
    )


def lent_masks(samples: list[Sample], masks: Dataset) -> dict[str, Sample]:
    """Samples with masks for images of the same name that show the same picture: some sets crop theirs."""
    known = {Path(s.name).name: s for s in masks.samples if s.mask is not None}
    found = {s.name: known[Path(s.name).name] for s in samples if Path(s.name).name in known}
    return {s.name: found[s.name] for s in samples if s.name in found and _alike(s, found[s.name])}


def _alike(a: Sample, b: Sample) -> bool:
    return distance(look(a.image()), look(b.image())) <= NEAR
