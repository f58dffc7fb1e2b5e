"""The split of a data set that brings none: 8:2, drawn once for all commands, so that what is trained on is never tested on."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

TEST_SHARE = 0.2


class Key(NamedTuple):
    """What decides on which side an image goes."""

    group: str  # images of one group stay together
    label: str | None = None


def draw_split(keys: Sequence[Key], share: float = TEST_SHARE, seed: int = 0) -> list[str]:
    """Say of each image whether it is for ``"train"`` or ``"test"``.

    Groups are taken in an order that hangs on their names and the seed alone, class by class, as long as that brings the test part of the
    class nearer to its share. A group of several classes counts for its most frequent one.

    Args:
        keys: group and class of each image; the order does not matter.
        share: of the images that are for testing, in each class.
        seed: of the draw.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for n, key in enumerate(keys):
        groups[key.group].append(n)
    classes: dict[str, list[str]] = defaultdict(list)
    for group in sorted(groups, key=lambda g: _rank(g, seed)):
        count = Counter(keys[n].label or "" for n in groups[group])
        classes[min(count, key=lambda label: (-count[label], label))].append(group)
    chosen = {g for some in classes.values() for g in _nearest(some, groups, share)}
    if not chosen and len(groups) > 1:  # classes of one or two images each
        chosen = {min(groups, key=lambda g: (len(groups[g]), _rank(g, seed)))}
    return ["test" if key.group in chosen else "train" for key in keys]


def _nearest(order: list[str], groups: dict[str, list[int]], share: float) -> list[str]:
    """The groups whose images together come nearest to a share of all; never all of several groups."""
    wanted, taken, chosen = share * sum(len(groups[g]) for g in order), 0, []
    for group in order:
        size = len(groups[group])
        if abs(taken + size - wanted) < abs(taken - wanted) and (len(chosen) + 1 < len(order)):
            taken, chosen = taken + size, [*chosen, group]
    return chosen


def _rank(group: str, seed: int) -> bytes:
    """Its place; salted, as validation parts are drawn by a hash of the same names."""
    return hashlib.sha256(f"split:{seed}:{group}".encode(errors="surrogateescape")).digest()
