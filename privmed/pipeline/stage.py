"""A stage, and stages in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor

from privmed import registry
from privmed.errors import InputError, SettingsError
from privmed.interfaces import Analyzer, Hider, validation
from privmed.pipeline.run import ARRIVING, Run

if TYPE_CHECKING:
    from privmed.pipeline.covers import InSeveralCovers
    from privmed.refine import Refinement

STRIDE = 1_000_003  # between the seeds of two stages

INPUTS = {
    "secret": "a secret and a cover: call the pipeline with (secret, cover)",
    "cover": "a secret and a cover: call the pipeline with (secret, cover)",
    "original": "an image that is to be published: call the pipeline with (image, ...), without a cover",
    "truth": "what a model would be trained on: call the pipeline with (image, mask=...) or (image, label=...)",
    "mask": "a mask: call the pipeline with (image, mask=...)",
    "label": "a label: call the pipeline with (image, label=...)",
}
"""What only the caller can give, and how."""

MADE = {"marked": " image", "recovered": " image"}  # what the name of a field lacks in a sentence


class Stage:
    """One step of a pipeline; stages compose with ``|``.

    Args:
        name: for people.
        step: from a run to the next one.
        needs: what of a :class:`Run` must be there.

    Example:
        >>> from privmed.pipeline import Stage, hide, recover
        >>> hide("lightih") | Stage.of(lambda image: image.flip(-1)) | recover("lightih")
        hide(lightih) | <lambda> | recover(lightih)
    """

    def __init__(self, name: str, step: Callable[[Run], Run], *needs: str) -> None:
        self.name, self.needs, self._step = name, needs, step

    def __call__(self, run: Run) -> Run:
        """Take the step.

        Raises:
            InputError: when something is missing that this stage needs, from an earlier stage or from the caller.
        """
        for need in self.needs:
            if getattr(run, need) is None:
                words = INPUTS.get(need, f"a {need}{MADE.get(need, '')}, which no stage before it makes")
                raise InputError(f"stage {self.name} needs {words}.")
        return self._step(run)

    def __or__(self, other: Stage | Pipeline | Callable[[Tensor], Tensor]) -> Pipeline:
        return Pipeline(self) | other

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor]) -> Stage:
        """Make a channel effect of any function from (B, C, H, W) to (B, C, H, W)."""
        return effect(getattr(function, "__name__", "function"), lambda image, _seed: function(image))


def effect(name: str, change: Callable[[Tensor, int], Tensor]) -> Stage:
    """A stage that changes what is on its way; the run holds what arrives."""

    def step(run: Run) -> Run:
        return arrive(name, run, change(run.image, run.seed + STRIDE * run.index))

    return Stage(name, step)


def arrive(name: str, run: Run, image: Tensor) -> Run:
    """The run with what a channel delivers.

    Raises:
        InputError: when the channel changes the shape.
    """
    if not isinstance(image, Tensor) or image.shape != run.image.shape:
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"stage {name} must keep the shape {tuple(run.image.shape)}, got {got}.")
    arrived: dict[str, Any] = {run.last: image} if run.last in ARRIVING else {}
    return evolve(run, image=image, **arrived)


class Pipeline:
    """Stages in order.

    Call it with ``(secret, cover)`` where a secret is hidden, and with ``(image, mask=..., label=...)`` where an image is published.

    Example:
        >>> from privmed.pipeline import hide, jpeg, png, recover
        >>> hide("lightih") | png() | jpeg(quality=90) | recover("lightih")
        hide(lightih) | png() | jpeg(quality=90) | recover(lightih)
    """

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages

    def __call__(
        self,
        image: Tensor,
        cover: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        label: Tensor | int | None = None,
        seed: int = 0,
    ) -> Run:
        """Run all stages.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32; the secret where a cover comes with it.
            cover: (B or 1, 1 or 3, any, any) in [0, 1]; aspect-filled to the secret's size.
            mask: the truth of segmentation, (B, 1, H, W), 0 or 1.
            label: the truth of classification, class numbers (B,), or one for all.
            seed: where every stage draws its randomness from.

        Raises:
            InputError: for bad images, or stages in an order that makes no sense.
        """
        run = _published(image, seed) if cover is None else _hidden(image, cover, seed)
        start = run.image
        if isinstance(label, int):
            label = torch.full((len(start),), label)
        run = evolve(
            run,
            mask=None if mask is None else validation.mask("mask", mask, like=start),
            label=None if label is None else validation.truth("label", label, like=start),
        )
        with torch.no_grad():
            for index, stage in enumerate(self.stages):  # stages of one kind must not draw the same noise
                run = stage(evolve(run, index=index))
        return run

    def __or__(self, other: Stage | Pipeline | Callable[[Tensor], Tensor]) -> Pipeline:
        if isinstance(other, Pipeline):
            return Pipeline(*self.stages, *other.stages)
        return Pipeline(*self.stages, other if isinstance(other, Stage) else Stage.of(other))

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.stages))

    @classmethod
    def covert(
        cls,
        hider: str | Hider | None = None,
        analyzer: str | Analyzer = "hidemia",
        *,
        weights: str | None = None,
        covers: int = 1,
        refine: int | Refinement = 0,
    ) -> Pipeline | InSeveralCovers:
        """Covert analysis whole: hide, send, analyze, send, recover, decode (HideMIA).

        Args:
            hider: a name or a hider; by default the one the analyzer was tuned to.
            analyzer: a name or an analyzer.
            weights: bundled weights (or a path) of the analyzer, when it is a name.
            covers: photographs that a scan is sent in. With several, call it with ``(secret, [cover, ...])``; outputs are averaged.
            refine: steps by which a stego is refined before it is sent, see :meth:`Hider.hide`.

        Raises:
            MethodNotFoundError: when a name is not that of an installed method.
            SettingsError: when ``covers`` is below 1.
            WeightsError: when the hider that the analyzer was tuned to is not there.
        """
        if covers < 1:
            raise SettingsError(f"covers must be at least 1, got {covers}.")
        from privmed.pipeline.analysis import analyze, decode, hide, recover, tuned_hider
        from privmed.pipeline.channel import png
        from privmed.pipeline.covers import InSeveralCovers

        if isinstance(analyzer, str):
            analyzer = registry.analyzer(analyzer, **({"weights": weights} if weights else {}))
        client = tuned_hider(analyzer) if hider is None else hider
        client = registry.hider(client) if isinstance(client, str) else client
        whole = hide(client, refine=refine) | png() | analyze(analyzer) | png() | recover(client) | decode(analyzer)
        return whole if covers == 1 else InSeveralCovers(whole, covers)


def _hidden(secret: Tensor, cover: Tensor, seed: int) -> Run:
    secret, cover = validation.image("secret", secret), validation.image("cover", cover)
    cover = validation.fill(validation.same_batch("cover", cover, "secret", secret), secret.shape[-2:])
    return Run(secret=secret, cover=cover, image=cover, seed=seed)


def _published(image: Tensor, seed: int) -> Run:
    validation.tensor("image", image, channels=(1, 3))
    image = validation.in_unit_range("image", validation.finite("image", image))
    return Run(original=image, image=image, seed=seed)
