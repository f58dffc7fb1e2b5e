"""What a model card says of the images its weights were trained on, so that a client can tell what they were not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, zip_longest
from typing import Any

import torch
from torch import Tensor

from privmed.covert.domain import Domain, features
from privmed.interfaces import Analyzer, Hider
from privmed.pipeline import analyze, bare, hide, png, recover
from privmed.training.analysis import Bare, Covert
from privmed.training.tasks import Task

LIMIT = 64  # images that a training looks at; it saves its weights often


@torch.no_grad()
def describe(analyzer: Analyzer, hider: Hider, pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Statistics of training scans, of what is recovered from the responses to them, and from those to bare photographs.

    Args:
        analyzer: whose card this is for.
        hider: what it was trained behind.
        pairs: scans and photographs, each (1, 3, H, W) in [0, 1]; three pairs at least.

    Returns:
        The entry ``domain`` of a card.
    """
    seen: dict[str, list[Tensor]] = {"secret": [], "answer": [], "nothing": []}
    back = png() | analyze(analyzer) | png() | recover(hider)
    for secret, cover in pairs:
        seen["secret"].append(features(secret))
        for name, send in (("answer", hide(hider)), ("nothing", bare())):
            seen[name].append(features((send | back)(secret, cover).recovered))
    return {name: Domain.fit(torch.cat(rows)).to_card() for name, rows in seen.items()}


@torch.no_grad()
def domain_of(task: Task) -> dict[str, Any] | None:
    """The entry ``domain`` of the card that a training writes; None for tasks that train no analyzer, or on too few images."""
    if not isinstance(task, Bare):
        return None
    items = (item for turn in zip_longest(*task.training) for item in turn if item)  # of every set
    scans = [task.place([task.full(item.image)]) for item in islice(items, LIMIT)]
    if len(scans) < 3:
        return None
    if isinstance(task, Covert):
        return describe(task.method, task.hider, ((scan, task.held_cover(n)) for n, scan in enumerate(scans)))
    return {"secret": Domain.fit(torch.cat([features(scan) for scan in scans])).to_card()}
