"""Covert analysis of one scan in several photographs: the cases side by side, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from torch import Tensor

from privmed.covert.case import CovertResult
from privmed.covert.outcome import NO_STEGO, UNFAMILIAR, Outcome, map_picture, outcome_of
from privmed.covert.report import LESION, overlay, picture
from privmed.imaging import write_view
from privmed.imaging.labels import label_map
from privmed.interfaces import Analyzer
from privmed.pipeline.covers import Average, average

GAIN = 2  # a standard deviation of probabilities is at most a half


@frozen(eq=False)
class Together:
    """What several photographs say: the averaged output, its outcome, and pictures by name."""

    average: Average
    outcome: Outcome
    images: dict[str, Tensor]

    @property
    def figures(self) -> dict[str, Any]:
        """Outcome and disagreement, for programs."""
        return {
            "outcome": self.outcome.kind,
            **self.outcome.figures,
            "disagreement": float(self.average.disagreement),
        }

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.outcome.words}; the photographs disagree by {self.figures['disagreement']:.2f} of 1"


def join(results: Sequence[CovertResult], analyzer: Analyzer) -> Together:
    """Average what was read from several photographs.

    Where most of the responses answer no stego, or are unfamiliar, so is the whole.
    """
    found = average([r.prediction for r in results])
    odd = [r.outcome.kind for r in results if r.outcome.kind in (NO_STEGO, UNFAMILIAR)]
    outcome = outcome_of(analyzer, found.prediction)
    if 2 * len(odd) > len(results):
        outcome = evolve(outcome, kind=Counter(odd).most_common(1)[0][0])
    images = {}
    if found.prediction.ndim == 4:
        images["mask"] = map_picture(found.prediction)
        images["foreground"] = (label_map(found.prediction) > 0).float()
        images["uncertainty"] = (GAIN * found.uncertainty).clamp(0, 1)
    return Together(found, outcome, images)


def write(together: Together, folder: Path, *, overwrite: bool = False) -> None:
    """Write the averaged mask and the map of uncertainty, where there are any."""
    for name in ("mask", "uncertainty"):
        if name in together.images:
            write_view(folder / f"{name}.png", together.images[name], overwrite=overwrite)


def section(together: Together, secret: Tensor) -> dict[str, Any]:
    """The part of a report about all photographs together."""
    pictures = []
    if together.images:
        found = overlay(secret, together.images["foreground"])
        pictures = [
            picture(found, "result", "Averaged over the photographs.", keys={"found": LESION}),
            picture(
                together.images["uncertainty"], "uncertainty", f"Standard deviation over the photographs, ×{GAIN}."
            ),
        ]
    return {"title": "All photographs together", "words": together.words, "pictures": pictures}
