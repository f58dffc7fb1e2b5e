"""Watermarker: a visible mark that misleads strangers' models, and that the owner can lift bit-exactly."""

from __future__ import annotations

import hashlib
import secrets
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from attrs import field, frozen
from torch import Tensor

from privmed.errors import InputError, KeyFileError
from privmed.imaging.logo import fit_logo
from privmed.imaging.overlay import Overlay, blend, in_grey
from privmed.imaging.record import make_record, use_record
from privmed.interfaces import door
from privmed.interfaces.base import Method
from privmed.interfaces.configs import WatermarkerConfig
from privmed.interfaces.placing import Asker, Course, Job, Oracle, Search, places_of, run_courses

LEVELS = (255, 65535)


class Embedded(NamedTuple):
    """What :meth:`Watermarker.embed` returns."""

    image: Tensor  # the marked image, (1, C, H, W)
    record: dict[str, Any]  # all that remove() needs; treat it as secret
    queries: int  # distinct images the oracle was asked about, the clean one included
    success: bool  # whether the oracle no longer answers the label
    before: int  # its answer to the clean image
    after: int  # its answer to the marked one
    parameters: dict[str, int]  # what the search found: opacity limit, column, row


@frozen(kw_only=True, eq=False)
class Task:
    """One image of :meth:`Watermarker.place`; fields as in :meth:`Watermarker.embed`, and a secret that the veil is drawn from."""

    image: Tensor = field(repr=False)
    label: int
    forbidden: Tensor | None = field(default=None, repr=False)
    target: Tensor | None = field(default=None, repr=False)
    generator: torch.Generator | int | None = None
    veil_key: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True, eq=False)
class Placed:
    """Where a mark goes, and what it does to the oracle."""

    overlay: Overlay
    limit: int  # the opacity limit that was found
    queries: int
    success: bool  # whether the oracle no longer answers the label, by whatever margin
    before: np.ndarray = field(repr=False)  # probabilities, (classes,)
    after: np.ndarray = field(repr=False)


class Watermarker(Method):
    """Contract of adversarial visible watermarks: find a place and an opacity for a logo. Blending and removal are the core's.

    The ``Config`` of a watermarker extends ``Watermarker.Config``.
    """

    kind: ClassVar[str] = "watermarker"
    Config: ClassVar[type[WatermarkerConfig]] = WatermarkerConfig

    @final
    def embed(
        self,
        image: Tensor,
        logo: Tensor,
        oracle: Oracle,
        label: int,
        *,
        forbidden: Tensor | None = None,
        target: Tensor | None = None,
        levels: int = 255,
        generator: torch.Generator | int | None = None,
    ) -> Embedded:
        """Place ``logo`` on ``image`` so that ``oracle`` no longer answers ``label``.

        Args:
            image: (1, 1 or 3, H, W) in [0, 1], sides at least 32. It is rounded to ``levels`` first.
            logo: (1, 3 or 4, h, w) in [0, 1], of any size; without transparency it is as opaque as it is bright.
            oracle: images -> probabilities, asked in batches about 8-bit images.
            label: the true class of ``image``.
            forbidden: where the logo may not lie, (1, 1, H, W), 0 or 1.
            target: what the logo must touch, (1, 1, H, W), 0 or 1.
            levels: the largest integer of the file the result goes to, 255 or 65535.
            generator: source of randomness; a generator or a seed (default 0). Without one, the veil (a setting) comes from the
                system's randomness; with one it is no secret to whoever can guess the seed.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or more than one image; for an oracle that does not return
                probabilities; when no place is left for the logo.
        """
        if levels not in LEVELS:
            raise InputError(f"levels: expected {' or '.join(map(str, LEVELS))}, got {levels!r}.")
        task = Task(image=image, label=label, forbidden=forbidden, target=target, generator=generator)
        placed = self.place([task], logo, oracle)[0]
        if isinstance(placed, InputError):
            raise placed
        values = to_values(image, levels)
        marked = blend(values, placed.overlay, levels)
        return Embedded(
            image=to_tensor(marked, levels).to(image.device),
            record=make_record(values, marked, placed.overlay, levels),
            queries=placed.queries,
            success=placed.success,
            before=int(placed.before.argmax()),
            after=int(placed.after.argmax()),
            parameters={"opacity": placed.limit, "x": placed.overlay.x, "y": placed.overlay.y},
        )

    @final
    def place(self, tasks: Sequence[Task], logo: Tensor, oracle: Oracle) -> list[Placed | InputError]:
        """Search on several images at a time, whose candidates share the batches of the oracle.

        Args:
            tasks: the images; all are held in memory.
            logo: see :meth:`embed`.
            oracle: see :meth:`embed`.

        Returns:
            One answer for each task: where the mark goes, or why this image cannot be marked.

        Raises:
            InputError: for a bad logo or oracle, which would fail for every image.
        """
        if not isinstance(logo, Tensor) or logo.ndim != 4 or logo.shape[0] != 1 or logo.shape[1] not in (3, 4):
            got = tuple(logo.shape) if isinstance(logo, Tensor) else type(logo).__name__
            raise InputError(f"logo: expected RGB or RGBA of shape (1, 3 or 4, h, w), got {got}.")
        logo = door.in_unit_range("logo", door.finite("logo", logo))
        if float(logo[:, 3:].amax() if logo.shape[1] == 4 else logo.amax()) == 0:
            raise InputError("logo: is transparent everywhere (or black, which is the same without transparency).")
        ask = Asker(oracle, self.config.batch)
        answers: list[Course | InputError] = []
        for task in tasks:
            try:
                answers.append(self._course(task, logo))
            except InputError as error:
                answers.append(error)
        run_courses([a for a in answers if isinstance(a, Course)], ask)
        return [a if isinstance(a, InputError) else self._placed(a) for a in answers]

    @final
    def remove(self, image: Tensor, record: dict[str, Any]) -> Tensor:
        """Return the original of a marked image, bit for bit on its own grey levels.

        Raises:
            InputError: for wrong types, shapes, ranges or NaN.
            KeyFileError: when the record is damaged, or belongs to another image or to this one before it was altered.
        """
        door.tensor("image", image, channels=(1, 3))
        marked = door.in_unit_range("image", door.finite("image", image))
        levels = record.get("levels") if isinstance(record, dict) else None
        if levels not in LEVELS:
            raise KeyFileError("record: is not a record of a watermark.")
        return to_tensor(use_record(to_values(marked, levels), record), levels).to(image.device)

    def _course(self, task: Task, logo: Tensor) -> Course:
        door.tensor("image", task.image, channels=(1, 3))
        clean = door.in_unit_range("image", door.finite("image", task.image))
        if clean.shape[0] != 1:
            raise InputError(f"image: expected one image, got a batch of {clean.shape[0]}.")
        regions = []
        for name, mask in (("forbidden", task.forbidden), ("target", task.target)):
            regions.append(None if mask is None else door.mask(name, mask, like=clean)[0, 0].bool().cpu().numpy())
        size = tuple(clean.shape[-2:])
        opacity, colour = fit_logo(logo, size, self.config.scale)
        places = places_of(size, opacity.shape, *regions)
        seed = door.generator_for(task.generator, torch.device("cpu"))
        rng = np.random.default_rng(torch.randint(2**62, (2,), generator=seed).tolist())
        veil = draw_veil(self.config.veil, opacity.shape, task, rng)
        if veil.any():  # a coloured mark on grey pixels would tell the opacity of each of them
            colour = in_grey(colour)
        view = (clean[0].cpu() * 255).round().byte().numpy()
        job = Job(view=view, opacity=opacity, colour=colour, label=int(task.label), places=places, veil=veil)
        return Course(job, self._search(job, rng), self._fools)

    def _fools(self, probabilities: np.ndarray, label: int) -> np.ndarray:
        """Which rows no longer answer the label, by the setting ``margin``, (n,) bool."""
        if not 0 <= label < probabilities.shape[1]:
            raise InputError(f"label: class {label}, but the oracle knows {probabilities.shape[1]} classes, from 0.")
        others = np.delete(probabilities, label, 1).max(1)
        return others - probabilities[:, label] > self.config.margin

    def _placed(self, course: Course) -> Placed:
        candidate = course.best[1]
        return Placed(
            overlay=course.job.overlay(np.array(candidate)),
            limit=candidate[0],
            queries=len(course.known) + 1,
            success=bool(course.known[candidate].argmax() != course.job.label),
            before=course.before,
            after=course.known[candidate],
        )

    @abstractmethod
    def _search(self, job: Job, rng: np.random.Generator) -> Search:
        """A generator that yields candidates (n, 3) and is sent probabilities (n, classes); it is closed as soon as one fools.

        A candidate is an opacity limit in [0, 255], a column and a row, cut to integers; the place must be one of ``job.places``.
        """


def draw_veil(depth: int, shape: tuple[int, int], task: Task, rng: np.random.Generator) -> np.ndarray:
    """What is taken off the opacity limit of each pixel, (h, w) uint8 in [0, depth].

    From the key of the task with 128 bits; else from its generator, which is no secret (torch's seeds have 32 bits); without either, from
    the system's randomness.
    """
    if depth and (task.veil_key is not None or task.generator is None):
        secret = hashlib.sha256(secrets.token_bytes(32) if task.veil_key is None else task.veil_key).digest()
        rng = np.random.Generator(np.random.Philox(key=int.from_bytes(secret[:16], "big")))
    return rng.integers(0, depth + 1, shape).astype(np.uint8)


def to_values(image: Tensor, levels: int) -> np.ndarray:
    """A tensor (1, C, H, W) in [0, 1] as integers (H, W) or (H, W, 3)."""
    values = (image[0].detach().cpu().double() * levels).round().numpy()
    values = np.moveaxis(values, 0, 2) if len(values) == 3 else values[0]
    return values.astype(np.uint8 if levels == 255 else np.uint16)


def to_tensor(values: np.ndarray, levels: int) -> Tensor:
    """The inverse of :func:`to_values`."""
    planes = np.moveaxis(values, 2, 0) if values.ndim == 3 else values[None]
    return torch.from_numpy(planes.astype(np.float32))[None] / levels
