"""How the client reads an answer: the same few numbers for every analyzer (HideMIA)."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.settings import at_least, positive, setting

GRID = 8  # the classification head sees the recovered image on this grid: tiny, so that the client does no analysis


def not_one(_: Any, attribute: Any, value: Any) -> None:
    """Refuse a single class: its probability would always be 1."""
    if value == 1:
        raise ValueError(f"{attribute.name} must be 0 or at least 2, got 1")


not_one.says = "not 1"  # type: ignore[attr-defined]


@frozen(kw_only=True)
class ReadingConfig:
    """Settings of the answer's decoding."""

    gain: float = setting(10.0, "g of p = sigmoid(g * (mean - t)); the paper: 1", positive())
    threshold: float = setting(0.5, "t of the same; the paper: 0")
    classes: int = setting(0, "0 for segmentation, else the number of classes", at_least(0), not_one)


class Reading(nn.Module):
    """Turn a recovered answer (B, 3, H, W) into logits: of a mask (B, 1, H, W), or of classes (B, classes)."""

    def __init__(self, config: ReadingConfig) -> None:
        super().__init__()
        self.gain, self.threshold = config.gain, config.threshold
        self.head = nn.Linear(3 * GRID * GRID, config.classes) if config.classes else None

    def forward(self, recovered: Tensor) -> Tensor:
        if self.head is not None:
            return self.head(F.adaptive_avg_pool2d(recovered, GRID).flatten(1))
        return self.gain * (recovered.mean(1, keepdim=True) - self.threshold)
