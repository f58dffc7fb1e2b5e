"""Stages of publishing: make an image unlearnable, mark it and lift the mark, ask a model about it."""

from __future__ import annotations

import numpy as np
import torch
from attrs import evolve
from torch import Tensor

from privmed import registry
from privmed.errors import InputError, SettingsError, did_you_mean
from privmed.imaging.keepout import lesion_boxes, paint
from privmed.imaging.logo import draw_logo
from privmed.interfaces import Protector, Watermarker, validation
from privmed.interfaces.blackbox import BatchedOracle
from privmed.interfaces.watermarker import Oracle
from privmed.pipeline.run import Run
from privmed.pipeline.stage import Stage

WHERE = ("anywhere", "outside", "inside")
BATCH = 32  # images at a time that an oracle is asked about


def protect(protector: str | Protector) -> Stage:
    """Make the image unlearnable for whoever trains on its mask, or on its label; the result is rounded to 8 bits.

    Args:
        protector: a name or a protector; one that learns has to be fitted.

    Raises:
        MethodNotFoundError: when no installed protector has that name.
        WeightsError: when the stage is run with a protector that was to be fitted first.

    Example:
        >>> import torch
        >>> from privmed.pipeline import jpeg, protect
        >>> image, mask = torch.rand(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
        >>> mask[..., 20:40, 20:40] = 1
        >>> run = (protect("tint") | jpeg(quality=75))(image, mask=mask)
        >>> sorted(run.metrics)
        ['protected_largest_change', 'protected_psnr', 'protected_ssim']
    """
    method = registry.protector(protector) if isinstance(protector, str) else protector

    def step(run: Run) -> Run:
        truth = run.truth if run.label is None or "segmentation" in method.tasks else run.label
        image = method.protect(run.image, truth, generator=run.seed)
        return evolve(run, image=image, protected=image, last="protected")

    return Stage(f"protect({method.name})", step, "original", "truth")


def watermark(
    watermarker: str | Watermarker, *, oracle: Oracle, logo: Tensor | None = None, where: str = "anywhere"
) -> Stage:
    """Mark the image so that a model no longer finds its label; each image of a batch by itself, in 8 bits.

    The seed of the run decides on every draw, so the mark is no secret to whoever knows it: this is for studies.

    Args:
        watermarker: a name or a watermarker.
        oracle: images to probabilities.
        logo: (1, 3 or 4, h, w) in [0, 1]; a shield by default.
        where: ``"anywhere"``; ``"outside"`` of the boxes around the lesions of the mask, if there are any; ``"inside"``: touching one.

    Raises:
        MethodNotFoundError: when no installed watermarker has that name.
        SettingsError: for another ``where``.
        InputError: when the stage is run: for an oracle that returns no probabilities, or an image without a place for the mark.

    Example:
        >>> import torch
        >>> from privmed.pipeline import watermark
        >>> def model(images):  # any callable from images to probabilities: bright ones are of class 1
        ...     bright = images.mean((1, 2, 3))
        ...     return torch.stack([1 - bright, bright], 1)
        >>> run = watermark("plain", oracle=model) | (lambda image: image)
        >>> run(torch.full((1, 3, 64, 64), 0.48), label=0).queries
        (2,)
    """
    method = registry.watermarker(watermarker) if isinstance(watermarker, str) else watermarker
    if where not in WHERE:
        raise SettingsError(f"watermark: where must be {', '.join(WHERE)}, got {where!r}.{did_you_mean(where, WHERE)}")
    mark = draw_logo() if logo is None else logo

    def step(run: Run) -> Run:
        made = []
        for n, image in enumerate(run.image.split(1)):
            regions = {} if where == "anywhere" else _regions(run.mask[n, 0], where)
            drawn = validation.generator_of(run.seed, image, torch.device("cpu"))
            made.append(method.embed(image, mark, oracle, int(run.label[n]), generator=drawn, **regions))
        marked = torch.cat([m.image for m in made])
        return evolve(
            run,
            image=marked,
            marked=marked,
            records=tuple(m.record for m in made),
            queries=tuple(m.queries for m in made),
            fooled=tuple(m.success for m in made),
            last="marked",
        )

    needs = ("original", "label") if where == "anywhere" else ("original", "label", "mask")
    return Stage(f"watermark({method.name})", step, *needs)


def unlock(watermarker: str | Watermarker) -> Stage:
    """Lift the watermarks, bit for bit; an image that was altered since is an error, since its mark cannot be lifted.

    Args:
        watermarker: a name or a watermarker, the one that marked.

    Raises:
        MethodNotFoundError: when no installed watermarker has that name.
        KeyFileError: when the stage is run on an image that was altered.

    Example:
        >>> import torch
        >>> from privmed.pipeline import unlock, watermark
        >>> image = torch.randint(256, (1, 1, 64, 64)) / 255
        >>> model = lambda images: torch.full((len(images), 2), 0.5)
        >>> run = (watermark("plain", oracle=model) | unlock("plain"))(image, label=0)
        >>> torch.equal(run.unlocked, image)
        True
    """
    method = registry.watermarker(watermarker) if isinstance(watermarker, str) else watermarker

    def step(run: Run) -> Run:
        images = [method.remove(image, record) for image, record in zip(run.image.split(1), run.records)]
        image = torch.cat(images)
        return evolve(run, image=image, unlocked=image, last="unlocked")

    return Stage(f"unlock({method.name})", step, "marked")


def classify(oracle: Oracle) -> Stage:
    """Ask a model about the image as it arrived; the metrics then hold its accuracy.

    Args:
        oracle: from images (N, C, H, W) in [0, 1] to probabilities (N, classes).

    Raises:
        InputError: when the stage is run, and the oracle returns something else.

    Example:
        >>> import torch
        >>> from privmed.pipeline import blur, classify
        >>> model = lambda images: torch.tensor([[0.9, 0.1]]).repeat(len(images), 1)
        >>> run = (blur() | classify(model))(torch.rand(2, 3, 64, 64), label=torch.tensor([0, 1]))
        >>> run.metrics
        {'accuracy': 0.5}
    """
    name = getattr(oracle, "name", getattr(oracle, "__name__", "oracle"))

    def step(run: Run) -> Run:
        return evolve(run, prediction=torch.from_numpy(BatchedOracle(oracle, BATCH)(run.image)))

    return Stage(f"classify({name})", step)


def _regions(mask: Tensor, where: str) -> dict[str, Tensor]:
    """Where a mark may not lie, or what it must touch: boxes around the lesions of a mask (H, W), as (1, 1, H, W).

    Raises:
        InputError: when there is no lesion that it could touch.
    """
    boxes = lesion_boxes(mask.cpu().numpy())
    if not boxes and where == "inside":
        raise InputError("watermark: no lesion is marked in the mask, so nothing can lie inside. Mark anywhere.")
    painted = torch.from_numpy(paint(boxes, tuple(mask.shape)).astype(np.float32))[None, None]
    return {"forbidden" if where == "outside" else "target": painted}
