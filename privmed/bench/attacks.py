"""Watermarks against models, image by image: what is asked of a watermarker, and what models say of the marked image."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privmed.bench.cases import Case
from privmed.bench.contracts import Value
from privmed.errors import InputError
from privmed.imaging.integers import to_tensor
from privmed.imaging.keepout import lesion_boxes, paint
from privmed.imaging.overlay import blend
from privmed.interfaces.watermarker import Placement, Task

Model = Callable[[Tensor], Tensor]


def outputs(models: dict[str, Model], view: np.ndarray) -> dict[str, int]:
    """What each model says of an image."""
    return {name: int(model(to_tensor(view)).argmax()) for name, model in models.items()}


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
        image=to_tensor(case.view),
        label=case.label,
        forbidden=region if where == "outside" else None,
        target=region if where == "inside" else None,
        generator=seed,
    )


def line_of(case: Case, placed: Placement | InputError | None, models: dict[str, Model], source: str) -> dict[str, Any]:
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
        "mark": placed.parameters,
    }


def hits(lines: list[dict[str, Any]]) -> list[float]:
    """1 for each attacked image that fooled the source, else 0."""
    return [float(line["success"]) for line in lines]


def transfer(lines: list[dict[str, Any]], target: str) -> list[float]:
    """1 or 0 for each image that fooled the source and that the target had right before."""
    eligible = [r for r in lines if r["success"] and r["before"][target] == r["label"]]
    return [float(r["after"][target] != r["label"]) for r in eligible]


def values_of(lines: list[dict[str, Any]], targets: list[str], classes: list[str]) -> Iterator[Value]:
    """What attacks on one source amount to.

    Args:
        lines: one an attacked image.
        targets: models that transfer is measured on.
        classes: names, in the order of the models' outputs.
    """
    yield shared("asr", hits(lines))
    if lines:
        yield averaged("queries", [r["queries"] for r in lines], "images")
    moved = {target: transfer(lines, target) for target in targets}
    shares = [statistics.fmean(some) for some in moved.values() if some]
    if shares:
        yield averaged("mean-transfer", shares, "target models")
    yield from (shared("transfer", some, target=target) for target, some in moved.items() if some)
    for n, label in enumerate(classes):
        if mine := hits([r for r in lines if r["label"] == n]):
            yield shared("asr", mine, **{"class": label})
    covered = [r["covered"] for r in lines if r["covered"] is not None]
    if covered:
        yield averaged("covered", covered, "images")


def shared(metric: str, values: list[float], **dimensions: Any) -> Value:
    """A share."""
    value = statistics.fmean(values) if values else 0.0
    return Value(metric=metric, value=value, n=len(values), over="images", dimensions=dimensions)


def averaged(metric: str, values: list[float], over: str) -> Value:
    """A mean with its standard deviation."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Value(metric=metric, value=statistics.fmean(values), n=len(values), spread=spread, over=over)
