"""Watermarks against models, image by image: what is asked of a watermarker, and what models say of the marked image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from privmed.bench.data import Dataset, Sample, picture, truth
from privmed.data.keyring import NEAR, distance, look
from privmed.errors import InputError
from privmed.imaging.keepout import lesion_boxes, paint
from privmed.imaging.overlay import blend
from privmed.interfaces.watermarker import Placed, Task

Model = Callable[[Tensor], Tensor]


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


def tensor_of(view: np.ndarray) -> Tensor:
    """(1, C, H, W) in [0, 1]."""
    planes = np.moveaxis(view, 2, 0) if view.ndim == 3 else view[None]
    return torch.from_numpy(planes.astype(np.float32))[None] / 255


def outputs(models: dict[str, Model], view: np.ndarray) -> dict[str, int]:
    """What each model says of an image."""
    return {name: int(model(tensor_of(view)).argmax()) for name, model in models.items()}


def task_of(case: Case, where: str) -> Task | None:
    """What is asked of the watermarker; None when there is no lesion to keep off or to lie on."""
    region = None
    if where != "anywhere":
        if case.mask is None:
            return None
        boxes = lesion_boxes(case.mask)
        if not boxes:
            return None
        region = torch.from_numpy(paint(boxes, case.mask.shape).astype(np.float32))[None, None]
    seed = int(hashlib.sha256(case.name.encode()).hexdigest()[:12], 16)
    return Task(
        image=tensor_of(case.view),
        label=case.label,
        forbidden=region if where == "outside" else None,
        target=region if where == "inside" else None,
        generator=seed,
    )


def line_of(
    case: Case, placed: Placed | InputError | None, models: dict[str, Model], source: str, scale: float
) -> dict:
    """What is kept of one attack."""
    if placed is None:
        return {"skipped": "no lesion is known"}
    if isinstance(placed, InputError):
        return {"skipped": str(placed)}
    marked = blend(case.view, placed.overlay, 255)
    changed = (marked != case.view).reshape(*case.view.shape[:2], -1).any(2)
    changed[placed.overlay.window] = False
    if changed.any():
        raise AssertionError(f"{case.name}: a pixel outside the mark was changed")
    shown = np.zeros(case.view.shape[:2], bool)
    shown[placed.overlay.window] = placed.overlay.opacity > 0
    after = outputs(models, marked)
    covered = float(shown[case.mask > 0].mean()) if case.mask is not None and (case.mask > 0).any() else None
    return {
        "success": after[source] != case.label,
        "queries": placed.queries,
        "after": after,
        "covered": covered,
        "place": [placed.overlay.x, placed.overlay.y, placed.limit],
        "scale": scale,
    }


def hits(lines: list[dict[str, Any]]) -> list[float]:
    """1 for each attacked image that fooled the source, else 0."""
    return [float(line["success"]) for line in lines]


def transfer(lines: list[dict[str, Any]], target: str) -> list[float]:
    """1 or 0 for each image that fooled the source and that the target had right before."""
    eligible = [r for r in lines if r["success"] and r["before"][target] == r["label"]]
    return [float(r["after"][target] != r["label"]) for r in eligible]
