"""Covert analysis of one scan in several photographs: the cases side by side, and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from torch import Tensor

from privmed.covert.case import CovertResult
from privmed.covert.outcome import Outcome, map_picture, outcome_of
from privmed.covert.report import LESION, overlay, picture
from privmed.imaging import write_view
from privmed.imaging.labels import label_map
from privmed.interfaces import Analyzer
from privmed.pipeline.covers import Average, average

GAIN = 2  # a standard deviation of probabilities is at most a half


@frozen(eq=False)
class Together:
    """What several photographs say.

    Attributes:
        average: of the answers that count; of one alone, its disagreement says nothing.
        outcome: what it means.
        images: pictures by name.
        used: how many answers count.
        left_out: how many do not, since they answer no scan that the weights know.
    """

    average: Average
    outcome: Outcome
    images: dict[str, Tensor]
    used: int
    left_out: int

    @property
    def figures(self) -> dict[str, Any]:
        """Outcome, disagreement (None of a single answer) and answers left out, for programs."""
        return {
            "outcome": self.outcome.kind,
            **self.outcome.figures,
            "disagreement": float(self.average.disagreement) if self.used > 1 else None,
            "left_out": self.left_out,
        }

    @property
    def words(self) -> str:
        """For people."""
        if self.used > 1:
            apart = f"the photographs disagree by {self.figures['disagreement']:.2f} of 1"
        else:
            apart = "it rests on one photograph"
        odd = f"; left out: {self.left_out}, not recognised or unfamiliar" if self.left_out else ""
        return f"{self.outcome.words}; {apart}{odd}"


def join(results: Sequence[CovertResult], analyzer: Analyzer) -> Together:
    """Average what was read from several photographs.

    Responses that answer no scan the weights know are left out; where they are more than half, the whole is of their kind, and nothing is.
    """
    usual = [r for r in results if not r.outcome.odd]
    mostly_odd = 2 * len(usual) < len(results)
    used = results if mostly_odd else usual
    found = average([r.prediction for r in (used if len(used) > 1 else [*used, *used])])
    outcome = evolve(outcome_of(analyzer, found.prediction), hidden=True)
    if mostly_odd:
        kinds = Counter(r.outcome.kind for r in results if r.outcome.odd)
        outcome = evolve(outcome, kind=kinds.most_common(1)[0][0])
    images = {}
    if found.prediction.ndim == 4:
        images["mask"] = map_picture(found.prediction)
        images["foreground"] = (label_map(found.prediction) > 0).float()
        if len(used) > 1:
            images["uncertainty"] = (GAIN * found.uncertainty).clamp(0, 1)
    return Together(found, outcome, images, len(used), len(results) - len(used))


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
        pictures = [picture(found, "result", "Averaged over the photographs.", keys={"found": LESION})]
        if "uncertainty" in together.images:
            words = f"Standard deviation over the photographs, ×{GAIN}."
            pictures.append(picture(together.images["uncertainty"], "uncertainty", words))
    return {"title": "All photographs together", "words": together.words, "pictures": pictures}
