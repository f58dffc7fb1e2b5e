"""The suite that judges watermarks: how often they mislead the models they were made against, and those they were not.

Only images that the source classifies correctly are attacked, as in MedLocker. ASR is the share of them that it errs on once they are
marked; transfer is the share of *those* that another model errs on, of the ones it had right before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import asdict, field, frozen
from torch import Tensor

from privmed.data.folders import ImageFolder, Item
from privmed.data.pixels import PictureStore, load_mask
from privmed.errors import InputError
from privmed.imaging.keepout import lesion_boxes, paint
from privmed.imaging.overlay import blend
from privmed.interfaces import Watermarker
from privmed.interfaces.watermarker import Placed, Task
from privmed.limits import read_text

Model = Callable[[Tensor], Tensor]
Tick = Callable[[int, int, str], None]


@frozen(kw_only=True)
class Trial:
    """One attack on a set of images."""

    source: str  # name of the model that is asked, and judged on the marked image in 8 bits
    method: str = "medlocker"
    settings: dict[str, Any] = field(factory=dict)  # of the watermarker
    where: str = "anywhere"
    common: str = ""  # what else runs must share to be the same: data, models, logo


@frozen(kw_only=True)
class Case:
    """An image with its class, and where its lesion is, if known."""

    name: str
    view: np.ndarray = field(repr=False)  # (H, W) or (H, W, 3) uint8
    label: int
    mask: np.ndarray | None = field(default=None, repr=False)


def cases_of(folder: ImageFolder, classes: list[str], size: int, masks: dict[str, Path] | None = None) -> list[Case]:
    """Test images of a class-folder set, squashed to one size.

    Args:
        folder: the set.
        classes: names, in the order of the models' answers.
        size: side.
        masks: lesion masks by file name, for images that have one.

    Raises:
        InputError: for an image of no class, or of one that the models do not know.
    """
    store = PictureStore(size, squash=True)
    for item in folder.items("test"):
        if item.label not in classes:
            what = "has no class" if item.label is None else f"is of class {item.label!r}"
            raise InputError(f"{item.image}: {what}, but the model knows {', '.join(classes)}.")

    def case(item: Item) -> Case:
        pixels = np.moveaxis(store(item.image).numpy(), 0, 2)
        grey = (pixels == pixels[..., :1]).all()
        path = (masks or {}).get(item.image.relative_to(folder.root).as_posix())
        mask = None if path is None else load_mask(path, size)[0].numpy()
        return Case(
            name=item.image.relative_to(folder.root).as_posix(),
            view=np.ascontiguousarray(pixels[..., 0] if grey else pixels),
            label=classes.index(item.label),
            mask=mask,
        )

    return [case(item) for item in folder.items("test")]


def tensor_of(view: np.ndarray) -> Tensor:
    """(1, C, H, W) in [0, 1]."""
    planes = np.moveaxis(view, 2, 0) if view.ndim == 3 else view[None]
    return torch.from_numpy(planes.astype(np.float32))[None] / 255


def answers(models: dict[str, Model], view: np.ndarray) -> dict[str, int]:
    """What each model says of an image."""
    return {name: int(model(tensor_of(view)).argmax()) for name, model in models.items()}


def run_trial(
    trial: Trial,
    locker: Watermarker,
    logo: Tensor,
    models: dict[str, Model],
    cases: Sequence[Case],
    journal: Path,
    *,
    before: dict[str, dict[str, int]] | None = None,
    together: int = 8,
    tick: Tick = lambda *_: None,
) -> list[dict[str, Any]]:
    """Attack every image that the source has right; what the journal holds is not done again.

    Args:
        trial: what is tried; runs of the same trial share their lines in the journal.
        locker: the watermarker, with the settings of the trial.
        logo: the mark.
        models: the source, and all that transfer is measured on.
        cases: the images.
        journal: file of finished images.
        before: what each model says of each unmarked image, if that is known.
        together: images searched at a time.
        tick: told how far it is.

    Returns:
        One line an attacked image: whether it fooled the source, queries, answers of all models before and after, and how much of
        the lesion the mark covers.
    """
    key = json.dumps(asdict(trial), sort_keys=True)
    known = {r["file"]: r for r in read_journal(journal) if r["key"] == key}
    oracle, scale, out = models[trial.source], locker.config.scale, []
    for start in range(0, len(cases), together):
        group = cases[start : start + together]
        if all(c.name in known for c in group):
            out += [known[c.name] for c in group]
            continue
        clean = [before[c.name] if before else answers(models, c.view) for c in group]
        tasks = [(c, b, task_of(c, trial.where)) for c, b in zip(group, clean) if b[trial.source] == c.label]
        placed = iter(locker.place([t for _, _, t in tasks if t is not None], logo, oracle))
        done = {
            c.name: line_of(c, None if t is None else next(placed), models, trial.source, scale) for c, b, t in tasks
        }
        for c, b in zip(group, clean):
            line = done.get(c.name, {"skipped": "misclassified"}) | {
                "key": key,
                "file": c.name,
                "label": c.label,
                "before": b,
            }
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            out.append(line)
        tick(min(start + together, len(cases)), len(cases), f"{trial.method} against {trial.source}, {trial.where}")
    return [line for line in out if "success" in line]


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
    after = answers(models, marked)
    covered = float(shown[case.mask > 0].mean()) if case.mask is not None and (case.mask > 0).any() else None
    return {
        "success": after[source] != case.label,
        "queries": placed.queries,
        "after": after,
        "covered": covered,
        "place": [placed.overlay.x, placed.overlay.y, placed.limit],
        "scale": scale,
    }


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Lines of a journal; one cut off by an interruption is left out."""
    lines = read_text(path, "table_bytes").splitlines() if path.is_file() else []
    out = []
    for line in lines:
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def asr(lines: Sequence[dict[str, Any]]) -> list[float]:
    """1 for each attacked image that fooled the source, else 0."""
    return [float(line["success"]) for line in lines]


def transfer(lines: Sequence[dict[str, Any]], target: str) -> list[float]:
    """1 or 0 for each image that fooled the source and that the target had right before."""
    eligible = [r for r in lines if r["success"] and r["before"][target] == r["label"]]
    return [float(r["after"][target] != r["label"]) for r in eligible]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (E. Wilson, JASA 1927)."""
    n, z = len(values), 1.959964
    if not n:
        return 0.0, 1.0
    p = sum(values) / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float((centre - half) / (1 + z * z / n)), float((centre + half) / (1 + z * z / n))
