"""Weights and model cards that come out of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from privmed import weights
from privmed.settings import unstructure
from privmed.training.analysis import Bare, Covert
from privmed.training.domain import domain_of
from privmed.training.tasks import Task


def save_weights(task: Task, out: Path, step: int, seconds: float, figures: dict[str, float]) -> None:
    """Write ``METHOD-NAME.safetensors`` and its card into ``out`` (and the tuned hider beside it, if it was trained too)."""
    recipe = task.recipe
    card: dict[str, Any] = {
        "about": recipe.about,
        "recipe": unstructure(recipe),
        "data": {s.path.name: s.digest("train") for s in task.sources},
        "trained": {
            "steps": step,
            "seconds": round(seconds),
            "threads": torch.get_num_threads(),
            "device": task.device.type,
        },
        "validation": {k: round(v, 4) for k, v in figures.items()},
        "torch": torch.__version__,
        "licence": "Apache-2.0",
    }
    if domain := domain_of(task):
        card["domain"] = domain
    if isinstance(task, Bare) and task.classes:
        card["classes"] = task.classes
    if isinstance(task, Covert):
        card["hider"] = {"name": recipe.hider, "weights": recipe.hider_weights, "sha256": task.hider.card["sha256"]}
        if recipe.joint:
            tuned = weights.save(
                task.hider, out / f"{recipe.hider}-{recipe.name}.safetensors", **card | {"hider": None, "domain": None}
            )
            card["hider"] = {"name": recipe.hider, "weights": recipe.name, "sha256": tuned["sha256"]}
    weights.save(task.method, out / f"{task.method.name}-{recipe.name}.safetensors", **card)
