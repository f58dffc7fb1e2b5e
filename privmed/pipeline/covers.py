"""One scan in several photographs: outputs averaged before the threshold, their disagreement, and which photographs hide best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging.labels import label_map
from privmed.interfaces import Hider
from privmed.metrics import dice, psnr
from privmed.pipeline.analysis import hide, recover
from privmed.pipeline.channel import png
from privmed.pipeline.run import Run

if TYPE_CHECKING:
    from privmed.pipeline.stage import Pipeline

Name = TypeVar("Name")


class Average(NamedTuple):
    """What several outputs for one scan say together.

    Attributes:
        prediction: the mean of the probabilities, in their shape.
        uncertainty: their standard deviation, (B, 1, H, W) for maps and (B, 1) for classes; of several classes that of the one that
            they differ most about.
        disagreement: one figure a scan, (B,) in [0, 1]: one minus the mean Dice of two foregrounds, over all pairs; for classes the
            mean total variation between two outputs.
    """

    prediction: Tensor
    uncertainty: Tensor
    disagreement: Tensor


def average(predictions: Sequence[Tensor]) -> Average:
    """Average probabilities of one scan from several photographs.

    Args:
        predictions: two at least, of one shape: (B, 1, H, W), (B, K, H, W) or (B, classes).

    Raises:
        InputError: when they are fewer, or differ in shape.

    Example:
        >>> import torch
        >>> from privmed.pipeline import average
        >>> first, second = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.7, 0.3]])
        >>> said = average([first, second])
        >>> said.prediction, said.disagreement
        (tensor([[0.8000, 0.2000]]), tensor([0.2000]))
    """
    shapes = {tuple(p.shape) for p in predictions}
    if len(predictions) < 2 or len(shapes) > 1:
        raise InputError(f"average: expected at least two predictions of one shape, got {sorted(shapes)}.")
    together = torch.stack(list(predictions))
    apart = torch.stack([_apart(a, b) for a, b in combinations(predictions, 2)])
    return Average(
        prediction=together.mean(0),
        uncertainty=together.std(0, unbiased=False).amax(1, keepdim=True),
        disagreement=apart.mean(0),
    )


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """How much two predictions differ, (B,) in [0, 1]."""
    if a.ndim == 2:
        return (a - b).abs().sum(1) / 2
    found, other = ((label_map(x) > 0).float() for x in (a, b))
    return (1 - dice(found, other)).float()


@frozen(eq=False, kw_only=True)
class SeveralRuns:
    """What came out of a scan that was sent in several photographs.

    Attributes:
        runs: one for each photograph.
        together: what they say together.
    """

    runs: tuple[Run, ...]
    together: Average

    @property
    def prediction(self) -> Tensor:
        """The averaged probabilities."""
        return self.together.prediction

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the photographs, means over them; correctness is that of the average."""
        each = [run.metrics for run in self.runs]
        out = {name: sum(m[name] for m in each) / len(each) for name in each[0]}
        joined = evolve(self.runs[0], prediction=self.prediction)
        return {**out, **joined.correctness(), "disagreement": float(self.together.disagreement.mean())}


class InSeveralCovers:
    """A pipeline of covert analysis for one scan in several photographs; :meth:`Pipeline.covert` makes it.

    Args:
        pipeline: from secret and cover to a prediction.
        count: of the photographs.
    """

    def __init__(self, pipeline: Pipeline, count: int) -> None:
        self.pipeline, self.count = pipeline, count

    def __call__(
        self,
        secret: Tensor,
        covers: Sequence[Tensor],
        *,
        mask: Tensor | None = None,
        label: Tensor | int | None = None,
        seed: int = 0,
    ) -> SeveralRuns:
        """Run all stages for each photograph.

        Args:
            secret: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            covers: as many photographs as ``count``, each as for :class:`Pipeline`.
            mask, label: the truth, as for :class:`Pipeline`.
            seed: where every stage draws its randomness from; each photograph has draws of its own.

        Raises:
            InputError: for another number of photographs, and as :class:`Pipeline`.
        """
        if len(covers) != self.count:
            raise InputError(f"covers: expected {self.count} photographs, got {len(covers)}.")
        runs = tuple(self.pipeline(secret, c, mask=mask, label=label, seed=seed + k) for k, c in enumerate(covers))
        return SeveralRuns(runs=runs, together=average([run.prediction for run in runs]))

    def __repr__(self) -> str:
        return f"{self.count} x ({self.pipeline!r})"


def best_covers(
    hider: Hider,
    secret: Tensor,
    covers: Iterable[tuple[Name, Tensor]],
    count: int = 1,
    *,
    seed: int = 0,
    progress: Callable[[Name], None] = lambda _: None,
) -> list[tuple[Name, Tensor]]:
    """The photographs in which a scan is hidden best.

    Each is tried. What counts is the weaker of two figures, after the 8-bit file: how little the photograph changes, and how well the scan
    comes back, both as PSNR.

    Args:
        hider: that hides.
        secret: one scan, (1, 1 or 3, H, W) in [0, 1].
        covers: photographs by name, one at a time.
        count: how many are wanted.
        seed: where the hider draws its randomness from.
        progress: told the name of each that was tried.

    Returns:
        The best ones, the very best first.

    Raises:
        InputError: when there are fewer.

    Example:
        >>> import privmed, torch
        >>> from privmed.pipeline import best_covers
        >>> from privmed.testing import sample_images
        >>> secret, cover = sample_images(1)
        >>> covers = [("soft.png", cover), ("white.png", torch.ones(1, 3, 48, 64))]  # a white one leaves no room upwards
        >>> [name for name, _ in best_covers(privmed.hider("lightih"), secret, covers)]
        ['soft.png']
    """
    steps = hide(hider) | png() | recover(hider)
    tried: list[tuple[float, Name, Tensor]] = []
    for name, cover in covers:
        run = steps(secret, cover, seed=seed)
        back = psnr(run.recovered.clamp(0, 1), run.secret)
        tried.append((min(float(psnr(run.stego, run.cover)), float(back)), name, cover))
        tried = sorted(tried, key=lambda t: -t[0])[:count]
        progress(name)
    if len(tried) < count:
        raise InputError(f"covers: expected at least {count} photographs, got {len(tried)}.")
    return [(name, cover) for _, name, cover in tried]
