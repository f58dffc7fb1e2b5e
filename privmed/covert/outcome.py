"""What the client reads out of a response: one of four outcomes, and the figures behind it.

Something was found; nothing was found; the output is unlike all that training scans gave, so it may mean nothing; or nothing was hidden:
the response answers a photograph that is no stego of ours.
"""

from __future__ import annotations

from typing import Any

from attrs import Factory, evolve, frozen
from torch import Tensor

from privmed.covert.domain import no_stego, unfamiliar_output
from privmed.imaging.labels import label_map
from privmed.interfaces import Analyzer
from privmed.metrics import silent
from privmed.pipeline import Run

FINDING, NOTHING_FOUND, UNFAMILIAR, NO_STEGO = "finding", "nothing found", "unfamiliar", "no stego"


@frozen(kw_only=True)
class Outcome:
    """What was read.

    Attributes:
        kind: one of the four outcomes.
        figures: ``foreground`` (share of the image) and with several classes ``areas`` (by number); or ``class``, ``probability`` and
            ``probabilities`` (by name).
        warnings: what there is to be careful about.
        hidden: whether a scan is known to be in the stego, by who hid it there.
    """

    kind: str
    figures: dict[str, Any]
    warnings: list[str] = Factory(list)
    hidden: bool = False

    @property
    def odd(self) -> bool:
        """Whether it answers no scan that the weights know."""
        return self.kind in (NO_STEGO, UNFAMILIAR)

    @property
    def words(self) -> str:
        """For people."""
        if self.kind == NO_STEGO:
            return (
                "the scan was not recognised: this is the answer to a photograph with nothing hidden"
                if self.hidden
                else "this was no stego of ours: nothing was hidden"
            )
        if "class" in self.figures:
            return f"class {self.figures['class']}, probability {self.figures['probability']:.2f}"
        share = self.figures["foreground"]
        areas = ", ".join(f"class {k} {v:.1%}" for k, v in self.figures.get("areas", {}).items() if v)
        return (
            (f"what was found covers {share:.1%} of the image" + (f" ({areas})" if areas else ""))
            if share
            else "nothing was found"
        )


def read_outcome(analyzer: Analyzer, run: Run, what: str, *, hidden: bool = False) -> Outcome:
    """Judge what was decoded from one response.

    Args:
        analyzer: whose response it is.
        run: with ``recovered`` and ``prediction``, a batch of one.
        what: the scan or the file, for people.
        hidden: whether a scan is known to be in the stego.

    Raises:
        WeightsError: when the statistics in the model card cannot be read.
    """
    warnings = unfamiliar_output(analyzer, run.recovered, what)
    outcome = evolve(outcome_of(analyzer, run.prediction), warnings=warnings, hidden=hidden)
    if no_stego(analyzer, run.recovered):
        return evolve(outcome, kind=NO_STEGO)
    return evolve(outcome, kind=UNFAMILIAR) if outcome.warnings else outcome


def outcome_of(analyzer: Analyzer, found: Tensor) -> Outcome:
    """What probabilities (1, 1 or K, H, W) or (1, classes) say, taken at their word."""
    if found.ndim == 2:
        return Outcome(kind=FINDING, figures=class_figures(analyzer, found))
    return Outcome(kind=NOTHING_FOUND if bool(silent(found)) else FINDING, figures=map_figures(found))


def map_figures(found: Tensor) -> dict[str, Any]:
    """Shares of the image that are foreground, and of each class if there are several, of probabilities (1, 1 or K, H, W)."""
    labels = label_map(found)
    out: dict[str, Any] = {"foreground": float((labels > 0).float().mean())}
    if found.shape[1] > 1:
        out["areas"] = {str(k): float((labels == k).float().mean()) for k in range(1, found.shape[1])}
    return out


def class_figures(analyzer: Analyzer, found: Tensor) -> dict[str, Any]:
    """The most probable class and all probabilities, of (1, classes), by the names in the model card or else by number."""
    names = (analyzer.card or {}).get("classes") or []
    names = names if len(names) == found.shape[1] else [str(k) for k in range(found.shape[1])]
    best = int(found.argmax())
    return {
        "class": names[best],
        "probability": float(found[0, best]),
        "probabilities": dict(zip(names, map(float, found[0]))),
    }


def map_picture(found: Tensor) -> Tensor:
    """A map as its file holds it, (1, 1, H, W): foreground white, or the number of the class as the grey level."""
    labels = label_map(found)
    return labels if found.shape[1] == 1 else labels / 255
