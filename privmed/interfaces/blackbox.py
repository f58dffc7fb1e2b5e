"""Black-box searches on many images, side by side: what they propose shares the batches of one oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging.integers import to_tensor
from privmed.imaging.overlay import Overlay, digests, previews
from privmed.interfaces.search import Problem, Search

Oracle = Callable[[Tensor], Tensor]
"""Any callable from images (N, C, H, W) in [0, 1] to class probabilities (N, classes): the attack is black-box."""

LARGEST_BATCH = 2**26  # values that are shown to an oracle at a time: a quarter of a gigabyte
SUM_TOLERANCE = 0.02  # probabilities in half precision do not add up to 1 exactly


class SearchState:
    """How far the search on one image is.

    Args:
        problem: the image.
        search: what proposes marks.
        margin: another class must lead by more than this before the search stops.
        name: of the method, for messages.

    Attributes:
        before: what the oracle says of the clean image, (classes,); None without an oracle.
        best: the best mark so far.
        after: what the oracle says of it.
        finished: whether there is nothing more to ask.
        error: why the image cannot be marked, if so.
    """

    def __init__(self, problem: Problem, search: Search, margin: float, name: str) -> None:
        self.problem, self.search, self.margin, self.name = problem, search, margin, name
        self.before: np.ndarray | None = None
        self.after: np.ndarray | None = None
        self.best: Overlay | None = None
        self.finished = False
        self.error: InputError | None = None
        self._score = (True, True, np.inf)
        self._known: dict[bytes, np.ndarray] = {}
        self._marks: list[Overlay] = []
        self._keys: list[bytes] = []
        self._pending: dict[bytes, Overlay] = {}

    @property
    def queries(self) -> int:
        """Distinct images the oracle was asked about, the clean one included."""
        return 0 if self.before is None else len(self._known) + 1

    @property
    def pending(self) -> list[Overlay]:
        """Marks that the oracle has not been asked about."""
        return list(self._pending.values())

    def start(self, probabilities: np.ndarray) -> None:
        """Take what the oracle says of the clean image, and the first marks of the search."""
        self.before, label = probabilities, self.problem.label
        if label is None:
            self._stop("label: is missing, and the oracle is to be misled about it. Give the true class.")
        elif not 0 <= label < len(probabilities):
            self._stop(f"label: class {label}, but the oracle knows {len(probabilities)} classes, from 0.")
        else:
            self._ask()

    def take_first(self) -> None:
        """Do without an oracle: the first mark is the best one."""
        self._ask()
        self.best, self.finished = next(iter(self._marks), None), True

    def tell(self, probabilities: np.ndarray) -> None:
        """Take the answers to :attr:`pending`, and go on."""
        self._known.update(zip(self._pending, probabilities))
        answers = np.stack([self._known[key] for key in self._keys])
        self._keep_best(answers)
        if not self._score[0]:
            self.finished = True
        else:
            self.search.tell(self._marks, answers)
            self._ask()

    def _keep_best(self, answers: np.ndarray) -> None:
        label = self.problem.label
        lead = np.delete(answers, label, 1).max(1) - answers[:, label]
        for mark, answer, leads in zip(self._marks, answers, lead > self.margin):
            # misled by the margin first, then misled at all, then by the probability that is left
            score = (not leads, bool(answer.argmax() == label), float(answer[label]))
            if score < self._score:
                self._score, self.best, self.after = score, mark, answer

    def _ask(self) -> None:
        self._marks = list(self.search.ask())
        for mark in self._marks:
            if fault := self.problem.fault(mark):
                raise InputError(f"watermarker {self.name!r} broke its contract: a mark that it proposes {fault}.")
        self._keys = digests(self._marks)
        self._pending = {k: m for k, m in zip(self._keys, self._marks) if k not in self._known}
        self.finished = not self._marks
        if self.finished and self.best is None:
            self._stop(
                f"image: {self.name} proposes no mark for it. Allow it in more places, or take another watermarker."
            )

    def _stop(self, why: str) -> None:
        self.error, self.finished = InputError(why), True


class BatchedOracle:
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


def run_searches(states: list[SearchState], oracle: BatchedOracle) -> None:
    """Run searches side by side until all are finished.

    The composition of batches depends on the given searches alone, so the same ones give the same bytes, although a network in half
    precision answers differently in other batches.
    """
    for state in states:
        state.start(oracle(to_tensor(state.problem.view))[0])
    while running := [s for s in states if not s.finished]:
        _turn(running, oracle)


def _turn(running: list[SearchState], oracle: BatchedOracle) -> None:
    """One question for each running search; what fits is asked in one batch, and no more than that is rendered at a time."""
    groups: dict[tuple[int, ...], list[tuple[int, Overlay]]] = {}
    for n, state in enumerate(running):
        groups.setdefault(state.problem.view.shape, []).extend((n, mark) for mark in state.pending)
    answers: dict[int, list[np.ndarray]] = {}
    for shape, questions in groups.items():
        many = min(oracle.batch, max(1, LARGEST_BATCH // int(np.prod(shape))))
        for start in range(0, len(questions), many):
            part = questions[start : start + many]
            for (n, _), answer in zip(part, oracle(_shown(running, part))):
                answers.setdefault(n, []).append(answer)
    for n, state in enumerate(running):
        state.tell(np.stack(answers[n]) if n in answers else np.zeros((0, len(state.before)), np.float32))


def _shown(running: list[SearchState], questions: list[tuple[int, Overlay]]) -> Tensor:
    """What the oracle is shown, (n, C, H, W) float32."""
    owners = list(dict.fromkeys(n for n, _ in questions))
    parts = [previews(running[n].problem.view, [mark for m, mark in questions if m == n]) for n in owners]
    return torch.from_numpy(np.concatenate(parts)).float().div_(255)
