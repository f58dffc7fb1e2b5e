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
from privmed.imaging.integers import to_integers, to_tensor
from privmed.imaging.overlay import Overlay, blend
from privmed.imaging.record import make_record, use_record
from privmed.imaging.wire import to_bytes
from privmed.interfaces import validation
from privmed.interfaces.base import Method
from privmed.interfaces.blackbox import BatchedOracle, Oracle, SearchState, run_searches
from privmed.interfaces.configs import LogoConfig, WatermarkerConfig
from privmed.interfaces.search import Problem, Search

MAX_VALUES = (255, 65535)


class Embedded(NamedTuple):
    """What :meth:`Watermarker.embed` returns; without an oracle nothing is known of its answers.

    Example:
        >>> import privmed, torch
        >>> marked = privmed.watermarker("plain").embed(torch.rand(1, 1, 64, 64), torch.ones(1, 3, 16, 16))
        >>> marked.image.shape, marked.queries, marked.success
        (torch.Size([1, 1, 64, 64]), 0, None)
    """

    image: Tensor  # the marked image, (1, C, H, W)
    record: dict[str, Any]  # all that remove() needs; treat it as secret
    queries: int  # distinct images the oracle was asked about, the clean one included
    success: bool | None  # whether the oracle no longer answers the label
    before: int | None  # its answer to the clean image
    after: int | None  # its answer to the marked one
    parameters: dict[str, int]  # of the mark: its largest opacity, column, row


@frozen(kw_only=True, eq=False)
class Task:
    """One image of :meth:`Watermarker.place`; fields as in :meth:`Watermarker.embed`, and a secret that jitter is drawn from."""

    image: Tensor = field(repr=False)
    label: int | None = None
    forbidden: Tensor | None = field(default=None, repr=False)
    target: Tensor | None = field(default=None, repr=False)
    generator: torch.Generator | int | None = None
    secret: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True, eq=False)
class Placement:
    """The mark that was found, and what it does to the oracle; None where there is none."""

    overlay: Overlay
    queries: int
    success: bool | None  # whether the oracle no longer answers the label, by whatever margin
    before: np.ndarray | None = field(repr=False)  # probabilities, (classes,)
    after: np.ndarray | None = field(repr=False)

    @property
    def parameters(self) -> dict[str, int]:
        """Largest opacity, column and row of the mark."""
        return {"opacity": int(self.overlay.opacity.max()), "x": self.overlay.x, "y": self.overlay.y}


class Watermarker(Method):
    """Contract of adversarial visible watermarks: propose marks for an image, each an :class:`Overlay` of any size, shape and colour.

    Which places are admissible, the questions to the oracle, blending and exact removal are the core's. A method that searches nothing
    sets ``needs_oracle = False`` and returns :class:`Proposals`. Its ``Config`` extends ``Watermarker.Config``, or
    ``Watermarker.LogoConfig`` if it lays the logo as it is.

    Example:
        >>> import privmed, torch
        >>> marker, image = privmed.watermarker("plain"), torch.randint(256, (1, 1, 64, 64)) / 255
        >>> marked = marker.embed(image, logo=torch.ones(1, 3, 16, 16))
        >>> torch.equal(marker.remove(marked.image, marked.record), image)
        True
    """

    kind: ClassVar[str] = "watermarker"
    Config: ClassVar[type[WatermarkerConfig]] = WatermarkerConfig
    LogoConfig: ClassVar[type[LogoConfig]] = LogoConfig
    needs_oracle: ClassVar[bool] = True

    @final
    def embed(
        self,
        image: Tensor,
        logo: Tensor,
        oracle: Oracle | None = None,
        label: int | None = None,
        *,
        forbidden: Tensor | None = None,
        target: Tensor | None = None,
        max_value: int = 255,
        generator: torch.Generator | int | None = None,
    ) -> Embedded:
        """Mark ``image`` with ``logo`` so that ``oracle`` no longer answers ``label``.

        Args:
            image: (1, 1 or 3, H, W) in [0, 1], sides at least 32. It is rounded to ``max_value`` steps first.
            logo: (1, 3 or 4, h, w) in [0, 1], of any size; without transparency it is as opaque as it is bright.
            oracle: images -> probabilities, asked in batches about 8-bit images; a method that needs none may go without.
            label: the true class of ``image``.
            forbidden: where the logo may not lie, (1, 1, H, W), 0 or 1.
            target: what the logo must touch, (1, 1, H, W), 0 or 1.
            max_value: the largest integer of the file the result goes to, 255 or 65535.
            generator: source of randomness; a generator or a seed (default 0). Without one, jitter (a setting) comes from the
                system's randomness; with one it is no secret to whoever can guess the seed.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or more than one image; for an oracle that is missing or does not return
                probabilities; when no place is left for the logo.
        """
        if max_value not in MAX_VALUES:
            raise InputError(f"max_value: expected {' or '.join(map(str, MAX_VALUES))}, got {max_value!r}.")
        task = Task(image=image, label=label, forbidden=forbidden, target=target, generator=generator)
        placed = self.place([task], logo, oracle)[0]
        if isinstance(placed, InputError):
            raise placed
        values = to_integers(image, max_value)
        marked = blend(values, placed.overlay, max_value)
        return Embedded(
            image=to_tensor(marked, max_value).to(image.device),
            record=make_record(values, marked, placed.overlay, max_value),
            queries=placed.queries,
            success=placed.success,
            before=None if placed.before is None else int(placed.before.argmax()),
            after=None if placed.after is None else int(placed.after.argmax()),
            parameters=placed.parameters,
        )

    @final
    def place(self, tasks: Sequence[Task], logo: Tensor, oracle: Oracle | None = None) -> list[Placement | InputError]:
        """Search on several images at a time, whose candidates share the batches of the oracle.

        Args:
            tasks: the images; all are held in memory.
            logo: see :meth:`embed`.
            oracle: see :meth:`embed`.

        Returns:
            For each task its placement, or why this image cannot be marked.

        Raises:
            InputError: for a bad logo or oracle, which would fail for every image.
        """
        logo = checked_logo(logo)
        if oracle is None and self.needs_oracle:
            raise InputError(f"oracle: {self.name} asks one where to put the mark. Give a model.")
        states: list[SearchState | InputError] = []
        for task in tasks:
            try:
                states.append(self._state(task, logo))
            except InputError as error:
                states.append(error)
        begun = [s for s in states if isinstance(s, SearchState)]
        if oracle is None:
            for state in begun:
                state.take_first()
        else:
            run_searches(begun, BatchedOracle(oracle, self.config.batch))
        return [s if isinstance(s, InputError) else s.error or placement_of(s) for s in states]

    @final
    def remove(self, image: Tensor, record: dict[str, Any]) -> Tensor:
        """Return the original of a marked image, bit for bit on its own grey levels.

        Args:
            image: as :meth:`embed` returned it, (1, 1 or 3, H, W) in [0, 1].
            record: what :meth:`embed` gave with it.

        Raises:
            InputError: for wrong types, shapes, ranges or NaN.
            KeyFileError: when the record is damaged, or belongs to another image or to this one before it was altered.
        """
        validation.tensor("image", image, channels=(1, 3))
        marked = validation.in_unit_range("image", validation.finite("image", image))
        max_value = record.get("levels") if isinstance(record, dict) else None
        if max_value not in MAX_VALUES:
            raise KeyFileError("record: is not a record of a watermark.")
        return to_tensor(use_record(to_integers(marked, max_value), record), max_value).to(image.device)

    def _state(self, task: Task, logo: Tensor) -> SearchState:
        validation.tensor("image", task.image, channels=(1, 3))
        clean = validation.in_unit_range("image", validation.finite("image", task.image))
        if clean.shape[0] != 1:
            raise InputError(f"image: expected one image, got a batch of {clean.shape[0]}.")
        numbers = torch.randint(
            2**62, (2,), generator=validation.generator_for(task.generator, torch.device("cpu"))
        ).tolist()
        problem = Problem(
            view=np.ascontiguousarray(to_bytes(clean)),
            logo=logo,
            label=None if task.label is None else int(task.label),
            forbidden=region("forbidden", task.forbidden, clean),
            target=region("target", task.target, clean),
            secret=secret_of(task, numbers),
        )
        search = self._search(problem, np.random.default_rng(numbers))
        return SearchState(problem, search, self.config.margin, self.name)

    @abstractmethod
    def _search(self, problem: Problem, rng: np.random.Generator) -> Search:
        """A search that proposes marks for one image; an ``InputError`` says why there can be none."""


def checked_logo(logo: Tensor) -> Tensor:
    """Check type, shape and range, and that something of it can be seen; returns it as float32."""
    if not isinstance(logo, Tensor) or logo.ndim != 4 or logo.shape[0] != 1 or logo.shape[1] not in (3, 4):
        got = tuple(logo.shape) if isinstance(logo, Tensor) else type(logo).__name__
        raise InputError(f"logo: expected RGB or RGBA of shape (1, 3 or 4, h, w), got {got}.")
    logo = validation.in_unit_range("logo", validation.finite("logo", logo))
    if float(logo[:, 3:].amax() if logo.shape[1] == 4 else logo.amax()) == 0:
        raise InputError("logo: is transparent everywhere (or black, which is the same without transparency).")
    return logo


def region(name: str, mask: Tensor | None, like: Tensor) -> np.ndarray | None:
    """A mask as (H, W) bool."""
    return None if mask is None else validation.mask(name, mask, like=like)[0, 0].bool().cpu().numpy()


def secret_of(task: Task, numbers: list[int]) -> bytes:
    """Where jitter comes from: the secret of a task; else its generator, which is no secret; without either, the system's randomness."""
    if task.secret is None and task.generator is not None:
        return hashlib.sha256(repr(numbers).encode()).digest()
    return hashlib.sha256(secrets.token_bytes(32) if task.secret is None else task.secret).digest()


def placement_of(state: SearchState) -> Placement:
    """What a finished search has found."""
    success = None if state.after is None else bool(state.after.argmax() != state.problem.label)
    return Placement(overlay=state.best, queries=state.queries, success=success, before=state.before, after=state.after)
