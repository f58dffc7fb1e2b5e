"""The guard: tells an explosion of the loss from its ordinary noise."""

from __future__ import annotations

import math
import statistics
from collections import deque

WINDOW = 64


class Guard:
    """Watch the loss of an invertible network, whose product of scales can explode without warning.

    Args:
        factor: a loss above this many running medians is an explosion.
        patience: how many explosions in a row make a rollback.
    """

    def __init__(self, factor: float, patience: int) -> None:
        self.factor, self.patience = factor, patience
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.in_a_row = 0
        self.rollbacks = 0

    def judge(self, loss: float) -> str:
        """Return ``"step"`` to go on, ``"skip"`` to leave this step out, ``"rollback"`` to restore and halve the learning rate."""
        usual = statistics.median(self.recent) if len(self.recent) >= 8 else math.inf
        if math.isfinite(loss) and loss <= self.factor * usual:
            return "step"
        self.in_a_row += 1
        if self.in_a_row < self.patience:
            return "skip"
        self.in_a_row = 0
        self.rollbacks += 1
        return "rollback"

    def went_well(self, loss: float) -> None:
        """Take in the loss of a step that was taken, its gradient being finite too."""
        self.recent.append(loss)
        self.in_a_row = 0

    @property
    def learning_rate_factor(self) -> float:
        """Factor on the learning rate: halved by every rollback."""
        return 0.5**self.rollbacks

    def state_dict(self) -> dict:
        """Plain data for a checkpoint."""
        return {"recent": list(self.recent), "in_a_row": self.in_a_row, "rollbacks": self.rollbacks}

    def load_state_dict(self, state: dict) -> None:
        """Undo :meth:`state_dict`."""
        self.recent = deque(state["recent"], maxlen=WINDOW)
        self.in_a_row, self.rollbacks = state["in_a_row"], state["rollbacks"]
