"""Asking and telling: many searches for the place of a mark share the batches of one oracle.

A search is a generator. It yields candidates, an (n, 3) array of opacity limit, column and row, and is sent their probabilities,
(n, classes). It does not know that other images are searched at the same time, nor that a candidate it repeats is not asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from attrs import Factory, define, field, frozen
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging.overlay import Overlay, admissible, touches

Oracle = Callable[[Tensor], Tensor]
"""Any callable from images (N, C, H, W) in [0, 1] to class probabilities (N, classes): the attack is black-box."""

Search = Generator[np.ndarray, np.ndarray, None]
LARGEST_BATCH = 2**26  # values that are shown to an oracle at a time: a quarter of a gigabyte
SUM_TOLERANCE = 0.02  # probabilities in half precision do not add up to 1 exactly


@frozen(kw_only=True, eq=False)
class Job:
    """One image that is to be marked.

    Attributes:
        view: what is seen, (C, H, W) uint8.
        opacity: of the fitted logo, (h, w) uint8.
        colour: of the fitted logo, (h, w, 3) uint8.
        label: the true class.
        places: (H - h + 1, W - w + 1) bool: where the upper left corner may be.
        veil: (h, w) uint8, subtracted from the opacity limit at each pixel.
    """

    view: np.ndarray = field(repr=False)
    opacity: np.ndarray = field(repr=False)
    colour: np.ndarray = field(repr=False)
    label: int
    places: np.ndarray = field(repr=False)
    veil: np.ndarray = field(repr=False)

    def overlay(self, candidate: np.ndarray) -> Overlay:
        """The mark that a candidate (opacity limit, column, row) stands for."""
        limit, x, y = (int(v) for v in candidate)
        limits = np.clip(limit - self.veil.astype(np.int64), 0, 255)
        return Overlay(x, y, np.minimum(self.opacity, limits).astype(np.uint8), self.colour)

    def render(self, candidates: np.ndarray) -> Tensor:
        """What the oracle is shown, (n, C, H, W) float32; the same integers as :func:`privmed.imaging.overlay.blend`."""
        base = torch.from_numpy(self.view)
        out = base.expand(len(candidates), *base.shape).clone()
        height, width = self.opacity.shape
        whole = candidates.astype(np.int64)
        rows = torch.from_numpy(whole[:, 2, None] + np.arange(height))[:, :, None]
        columns = torch.from_numpy(whole[:, 1, None] + np.arange(width))[:, None, :]
        limits = np.clip(whole[:, 0, None, None] - self.veil.astype(np.int64), 0, 255)
        alpha = torch.from_numpy(np.minimum(self.opacity, limits).astype(np.int32))[:, None]
        probe = Overlay(0, 0, self.opacity, self.colour)
        shape = (height, width, 3) if len(base) == 3 else (height, width)
        layer = probe.layers(np.zeros(shape), 255)[1]
        colour = torch.from_numpy((np.moveaxis(layer, 2, 0) if layer.ndim == 3 else layer[None]).astype(np.int32))
        under = base[:, rows, columns].movedim(1, 0).int()
        mixed = (2 * ((255 - alpha) * under + alpha * colour) + 255).div(510, rounding_mode="floor").byte()
        index = torch.arange(len(candidates))[:, None, None]
        out.movedim(1, 3)[index, rows, columns] = mixed.movedim(1, 3)
        return out.float() / 255


def places_of(
    size: tuple[int, int], mark: tuple[int, int], forbidden: np.ndarray | None, target: np.ndarray | None
) -> np.ndarray:
    """Where a mark may be put.

    Raises:
        InputError: when there is no such place.
    """
    places = admissible(size, mark, forbidden)
    if target is not None:
        places &= touches(size, mark, target) > 0
    if not places.any():
        raise InputError(
            f"image: there is no place for a logo of {mark[1]} x {mark[0]} pixels that keeps to the given regions. "
            "Make the logo smaller (a larger scale), or allow it anywhere."
        )
    return places


@define(eq=False)
class Course:
    """How far the search on one image is."""

    job: Job
    search: Search
    done: Callable[[np.ndarray, int], np.ndarray]  # probabilities (n, classes), label -> which fool the oracle
    wanted: np.ndarray | None = None
    known: dict[tuple[int, int, int], np.ndarray] = Factory(dict)
    asked: list[tuple[int, int, int]] = Factory(list)  # what the oracle is being asked, in order
    before: np.ndarray | None = None
    best: tuple[tuple[bool, bool, float], tuple[int, int, int] | None] = ((True, True, np.inf), None)
    fooled: bool = False
    finished: bool = False

    def start(self, probabilities: np.ndarray) -> None:
        """Take what the oracle says of the clean image, and the first candidates of the search."""
        self.before = probabilities
        self._advance(None)

    def pending(self) -> list[tuple[int, int, int]]:
        """Candidates that the oracle has not been asked about."""
        whole = dict.fromkeys(map(tuple, self.wanted.astype(np.int64).tolist()))
        self.asked = [c for c in whole if c not in self.known]
        return self.asked

    def tell(self, probabilities: np.ndarray) -> None:
        """Take the answers to :meth:`pending`, and go on."""
        self.known.update(zip(self.asked, probabilities))
        answers = np.stack([self.known[tuple(c)] for c in self.wanted.astype(np.int64).tolist()])
        fooling = self.done(answers, self.job.label)
        for candidate, answer, fools in zip(self.wanted.astype(np.int64).tolist(), answers, fooling):
            label = (
                self.job.label
            )  # misled by the margin first, then misled at all, then by the probability that is left
            score = (not fools, bool(answer.argmax() == label), float(answer[label]))
            if score < self.best[0]:
                self.best, self.fooled = (score, tuple(candidate)), bool(fools)
        if self.fooled:
            self.search.close()
            self.finished = True
        else:
            self._advance(answers)

    def _advance(self, answers: np.ndarray | None) -> None:
        try:
            self.wanted = next(self.search) if answers is None else self.search.send(answers)
            while len(self.wanted) == 0:
                self.wanted = self.search.send(np.zeros((0, len(self.before))))
        except StopIteration:
            self.finished = True


class Asker:
    """Sends images to the oracle in batches, and holds its answers against what an oracle promises.

    Args:
        oracle: images to probabilities.
        batch: images at a time.
    """

    def __init__(self, oracle: Oracle, batch: int) -> None:
        self.oracle, self.batch, self.classes = oracle, batch, 0

    def __call__(self, images: Tensor) -> np.ndarray:
        """Probabilities of images, (n, classes) float32.

        Raises:
            InputError: when the oracle returns something else.
        """
        with torch.no_grad():
            return np.concatenate([self._checked(part) for part in images.split(self.batch)])

    def _checked(self, images: Tensor) -> np.ndarray:
        answer: Any = self.oracle(images)
        try:
            answer = answer if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
        except (TypeError, ValueError) as error:
            raise InputError(f"oracle: expected a tensor of probabilities, got {type(answer).__name__}.") from error
        if answer.ndim != 2 or len(answer) != len(images) or answer.shape[1] < 2:
            raise InputError(
                f"oracle: expected probabilities of shape ({len(images)}, classes) for {len(images)} images, got {tuple(answer.shape)}."
            )
        answer = answer.detach().float().cpu()
        if not torch.isfinite(answer).all():
            raise InputError("oracle: returned NaN or infinite values.")
        off = float((answer.sum(1) - 1).abs().max())
        if float(answer.min()) < -SUM_TOLERANCE or off > SUM_TOLERANCE:
            raise InputError("oracle: returned values that are no probabilities (logits?). Apply softmax to them.")
        if self.classes not in (0, answer.shape[1]):
            raise InputError(f"oracle: returned {self.classes} classes first and {answer.shape[1]} later.")
        self.classes = answer.shape[1]
        return answer.numpy()


def run_courses(courses: list[Course], ask: Asker) -> None:
    """Run searches side by side until all are finished.

    The composition of batches depends on the given searches alone, so the same ones give the same bytes, although a network in half
    precision answers differently in other batches.
    """
    for course in courses:
        clean = torch.from_numpy(course.job.view)[None].float() / 255
        course.start(ask(clean)[0])
    while running := [c for c in courses if not c.finished]:
        _turn(running, ask)


def _turn(running: list[Course], ask: Asker) -> None:
    """One question for each running search; what fits is asked in one batch, and no more than that is rendered at a time."""
    groups: dict[tuple[int, ...], list[tuple[int, tuple[int, int, int]]]] = {}
    for n, course in enumerate(running):
        shape = (*course.job.view.shape, *course.job.opacity.shape)
        groups.setdefault(shape, []).extend((n, candidate) for candidate in course.pending())
    answers: dict[int, list[np.ndarray]] = {}
    for shape, questions in groups.items():
        many = min(ask.batch, max(1, LARGEST_BATCH // int(np.prod(shape[:3]))))
        for start in range(0, len(questions), many):
            part = questions[start : start + many]
            owners = list(dict.fromkeys(n for n, _ in part))
            shown = [running[n].job.render(np.array([c for m, c in part if m == n])) for n in owners]
            for (n, _), answer in zip(part, ask(torch.cat(shown))):
                answers.setdefault(n, []).append(answer)
    for n, course in enumerate(running):
        course.tell(np.stack(answers[n]) if n in answers else np.zeros((0, len(course.before)), np.float32))
