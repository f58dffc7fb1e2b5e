"""Stages and their composition: a robustness study or a new protocol is a line, not a script.

    protocol = hide("lightih") | png() | jpeg(quality=90) | analyze("hidemia") | png() | recover("lightih") | decode("hidemia")
    run = protocol(secret, cover)
    run.image, run.stego, run.response, run.recovered, run.prediction, run.metrics

A stage takes a :class:`Run` and returns a new one; channel effects are ordinary stages, and so is any function from an image
batch to an image batch (``Stage.of(function)``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PureWindowsPath
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn import functional as F

from privmed import registry
from privmed.errors import InputError, SettingsError, WeightsError
from privmed.files import local_name
from privmed.imaging.effects import check_quality, gaussian_blur, jpeg_file
from privmed.imaging.quantise import quantise
from privmed.interfaces import Analyzer, FileHider, Hider, door
from privmed.refine import Refinement
from privmed.weights import bundled

STRIDE = 1_000_003  # between the seeds of two stages


@frozen(eq=False)
class Run:
    """What a pipeline has made so far; every image is (B, C, H, W).

    Attributes:
        secret, cover: what went in; the cover already filled to the secret's size.
        image: what the last stage put out.
        stego: the hidden scan as the wire carried it.
        response: the server's answer as the wire carried it.
        recovered: what the hider read out of ``image``, unclamped.
        prediction: probabilities, (B, 1, H, W) or (B, classes).
        seed: where stages draw their randomness from.
        place: which stage is at work, from 0.
    """

    secret: Tensor
    cover: Tensor
    image: Tensor
    stego: Tensor | None = None
    response: Tensor | None = None
    recovered: Tensor | None = None
    prediction: Tensor | None = None
    seed: int = 0
    place: int = 0
    last: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """PSNR (RGB and Y), SSIM against the cover of whatever the run has, means over the batch; ``recovered`` against the secret."""
        from privmed.evaluation.metrics import psnr, ssim

        out: dict[str, float] = {}
        for name, image in (("stego", self.stego), ("response", self.response)):
            if image is not None and image.shape == self.cover.shape:
                out[f"{name}_psnr"] = float(psnr(image, self.cover).mean())
                out[f"{name}_psnr_y"] = float(psnr(image, self.cover, channel="y").mean())
                out[f"{name}_ssim"] = float(ssim(image, self.cover).mean())
        if self.recovered is not None and self.recovered.shape == self.cover.shape and self.response is None:
            out["recovered_psnr"] = float(psnr(self.recovered.clamp(0, 1), _colour(self.secret)).mean())
        return out


class Stage:
    """One step of a pipeline; stages compose with ``|``."""

    def __init__(self, name: str, step: Callable[[Run], Run], needs: str = "image") -> None:
        self.name, self.needs, self._step = name, needs, step

    def __call__(self, run: Run) -> Run:
        """Take the step.

        Raises:
            InputError: when an earlier stage that this one needs is missing.
        """
        if getattr(run, self.needs) is None:
            raise InputError(f"stage {self.name} needs a {self.needs}, which no stage before it makes.")
        return self._step(run)

    def __or__(self, other: Stage | Pipeline | Callable[[Tensor], Tensor]) -> Pipeline:
        return Pipeline(self) | other

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor]) -> Stage:
        """Make a channel effect of any function from (B, 3, H, W) to (B, 3, H, W)."""
        return _effect(getattr(function, "__name__", "function"), lambda image, _seed: function(image))


class Pipeline:
    """Stages in order. Call it with ``(secret, cover)``."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages

    def __call__(self, secret: Tensor, cover: Tensor, *, seed: int = 0) -> Run:
        """Run all stages.

        Args:
            secret: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            cover: (B or 1, 1 or 3, any, any) in [0, 1]; aspect-filled to the secret's size.
            seed: where every stage draws its randomness from.

        Raises:
            InputError: for bad images, or stages in an order that makes no sense.
        """
        secret_, cover_ = door.image("secret", secret), door.image("cover", cover)
        cover_ = door.fill(door.same_batch("cover", cover_, "secret", secret_), secret_.shape[-2:])
        run = Run(secret=secret, cover=cover_, image=cover_, seed=seed)
        with torch.no_grad():
            for place, stage in enumerate(self.stages):  # stages of one kind must not draw the same noise
                run = stage(evolve(run, place=place))
        return run

    def __or__(self, other: Stage | Pipeline | Callable[[Tensor], Tensor]) -> Pipeline:
        more = (
            other.stages if isinstance(other, Pipeline) else (other if isinstance(other, Stage) else Stage.of(other),)
        )
        return Pipeline(*self.stages, *more)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.stages))

    @classmethod
    def covert(
        cls, hider: str | Hider | None = None, analyzer: str | Analyzer = "hidemia", *, weights: str | None = None
    ) -> Pipeline:
        """Covert analysis whole: hide, send, analyze, send, recover, decode (HideMIA).

        Args:
            hider: a name or a hider; by default the one the analyzer was tuned to.
            analyzer: a name or an analyzer.
            weights: bundled weights (or a path) of the analyzer, when it is a name.
        """
        if isinstance(analyzer, str):
            analyzer = registry.analyzer(analyzer, **({"weights": weights} if weights else {}))
        client = tuned_hider(analyzer) if hider is None else _hider(hider)
        return Pipeline(hide(client), png(), analyze(analyzer), png(), recover(client), decode(analyzer))


def fits(analyzer: Analyzer, hider: Hider) -> bool:
    """Whether these are the very weights of a hider that an analyzer was tuned to; True if its card does not say to which."""
    tuned = (analyzer.card or {}).get("hider") or {}
    return not tuned or (hider.card or {}).get("sha256") == tuned["sha256"]


def tuned_hider(analyzer: Analyzer, **settings: Any) -> Hider:
    """The hider an analyzer's weights were tuned to, as their model card says; LightIH if they do not say.

    Weights that are not bundled are looked for beside the analyzer's own file, under the name in the card; a card leads nowhere else.

    Raises:
        WeightsError: when the hider's weights are not there, or not the very ones the analyzer was tuned to.
    """
    tuned = (analyzer.card or {}).get("hider") or {}
    name, said = str(tuned.get("name", "lightih")), str(tuned.get("weights", registry.BUNDLED))
    known, chosen = bundled(registry.load("hider", name)), said
    if tuned and analyzer.source is not None:
        stem = PureWindowsPath(said).stem  # knows both separators
        names = [local_name(f"{n}.safetensors", analyzer.source) for n in (f"{name}-{stem}", stem)]
        near = [analyzer.source.with_name(n) for n in names]
        chosen = next((path for path in near if path.is_file()), said)
    if chosen is said and said not in (registry.BUNDLED, *known):
        raise WeightsError(
            f"{analyzer.name} was tuned to the weights {said!r} of {name}, which are neither bundled nor beside {analyzer.source}. "
            "Put them there, or name the hider."
        )
    hider = registry.hider(name, weights=chosen, **settings)
    if not fits(analyzer, hider):
        raise WeightsError(
            f"{analyzer.name} was tuned to other weights of {hider.name} than those installed (sha256 {tuned['sha256'][:12]}, "
            f"not {hider.card['sha256'][:12]}). Install versions that belong together, or name the hider."
        )
    return hider


def hide(hider: str | Hider, *, refine: int | Refinement = 0) -> Stage:
    """Hide the secret in the cover, and refine the stego by so many steps (see :meth:`Hider.hide`)."""
    method = _hider(hider)

    def step(run: Run) -> Run:
        stego = method.hide(run.secret, run.cover, refine=refine, generator=run.seed)
        return evolve(run, image=stego, stego=stego, last="stego")

    return Stage(f"hide({method.name})", step)


def analyze(analyzer: str | Analyzer) -> Stage:
    """Let the server answer to the stego."""
    method = registry.analyzer(analyzer) if isinstance(analyzer, str) else analyzer

    def step(run: Run) -> Run:
        response = method.analyze(run.image, generator=run.seed)
        return evolve(run, image=response, response=response, last="response")

    return Stage(f"analyze({method.name})", step, needs="stego")


def recover(hider: str | Hider) -> Stage:
    """Read the hidden image out of whatever came last."""
    method = _hider(hider)

    def step(run: Run) -> Run:
        return evolve(run, recovered=method.recover(run.image, clamp=False, generator=run.seed), last="recovered")

    return Stage(f"recover({method.name})", step)


def decode(analyzer: str | Analyzer) -> Stage:
    """Turn what was recovered from the response into probabilities."""
    method = registry.analyzer(analyzer) if isinstance(analyzer, str) else analyzer
    return Stage(
        f"decode({method.name})", lambda run: evolve(run, prediction=method.decode(run.recovered)), needs="recovered"
    )


def png() -> Stage:
    """The 8-bit wire: clamp and round."""
    return _effect("png()", lambda image, _seed: quantise(image.detach()))


def jpeg(quality: int = 90) -> Stage:
    """A true JPEG encoder and decoder (Pillow's, 4:2:0)."""
    check_quality(quality)
    return _effect(f"jpeg(quality={quality})", lambda image, _seed: jpeg_file(image, quality))


def blur(sigma: float = 1.0) -> Stage:
    """A Gaussian blur, ``sigma`` in pixels."""
    if not sigma > 0:
        raise SettingsError(f"blur: sigma must be greater than 0, got {sigma}.")
    side = 2 * max(1, round(3 * sigma)) + 1
    return _effect(f"blur(sigma={sigma:g})", lambda image, _seed: gaussian_blur(image, sigma, side))


def noise(std: float = 0.01) -> Stage:
    """Gaussian noise of standard deviation ``std`` on the [0, 1] scale, clamped."""
    if not std >= 0:
        raise SettingsError(f"noise: std must be at least 0, got {std}.")

    def apply(image: Tensor, seed: int) -> Tensor:
        drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return (image + std * drawn).clamp(0, 1)

    return _effect(f"noise(std={std:g})", apply)


def resize(scale: float = 0.5) -> Stage:
    """Scale down or up and back again (bilinear, antialiased)."""
    if not scale > 0:
        raise SettingsError(f"resize: scale must be greater than 0, got {scale}.")

    def apply(image: Tensor, _seed: int) -> Tensor:
        size = [max(1, round(s * scale)) for s in image.shape[-2:]]
        small = F.interpolate(image, size, mode="bilinear", antialias=True)
        return F.interpolate(small, image.shape[-2:], mode="bilinear", antialias=True)

    return _effect(f"resize(scale={scale:g})", apply)


# --- inside -----------------------------------------------------------------------------------------------------------


def _effect(name: str, change: Callable[[Tensor, int], Tensor]) -> Stage:
    """A stage that changes what is on the wire; stego and response follow, since that is what arrives."""

    def step(run: Run) -> Run:
        image = change(run.image, run.seed + STRIDE * run.place)
        if not isinstance(image, Tensor) or image.shape != run.image.shape:
            got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"stage {name} must keep the shape {tuple(run.image.shape)}, got {got}.")
        arrived: dict[str, Any] = {run.last: image} if run.last in ("stego", "response") else {}
        return evolve(run, image=image, **arrived)

    return Stage(name, step)


def _hider(hider: str | Hider) -> Hider:
    return of_images(registry.hider(hider) if isinstance(hider, str) else hider)


def of_images(hider: Hider) -> Hider:
    """The hider, if it hides images.

    Raises:
        SettingsError: when it carries files, in which nothing can be analysed.
    """
    return hider.refuse() if isinstance(hider, FileHider) else hider


def _colour(image: Tensor) -> Tensor:
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image


__all__ = [
    "Pipeline",
    "Run",
    "Stage",
    "analyze",
    "blur",
    "decode",
    "hide",
    "jpeg",
    "noise",
    "png",
    "recover",
    "resize",
    "tuned_hider",
]
