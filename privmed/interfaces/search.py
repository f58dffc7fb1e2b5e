"""What a watermarker works on and what it proposes: the problem of one image, and a search by asking and telling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from attrs import field, frozen
from torch import Tensor

from privmed.errors import InputError
from privmed.imaging.logo import FittedLogo, fit_logo
from privmed.imaging.overlay import Overlay, admissible, in_grey, touches


@frozen(kw_only=True, eq=False)
class Problem:
    """One image that is to be marked.

    Attributes:
        view: what is seen, (H, W) or (H, W, 3) uint8.
        logo: (1, 3 or 4, h, w) in [0, 1], as it was given.
        label: the true class; None where there is no oracle.
        forbidden: where no visible pixel of a mark may lie, (H, W) bool.
        target: what the rectangle of a mark must touch, (H, W) bool.
        secret: where what must not be guessed comes from.

    Example:
        >>> import numpy as np, torch
        >>> from privmed.interfaces.search import Problem
        >>> forbidden = np.zeros((64, 64), bool)
        >>> forbidden[:, :32] = True
        >>> problem = Problem(view=np.zeros((64, 64), np.uint8), logo=torch.ones(1, 3, 8, 8), forbidden=forbidden)
        >>> int(problem.positions((16, 16)).sum())  # rows of the upper left corner times columns
        833
    """

    view: np.ndarray = field(repr=False)
    logo: Tensor = field(repr=False)
    label: int | None = None
    forbidden: np.ndarray | None = field(default=None, repr=False)
    target: np.ndarray | None = field(default=None, repr=False)
    secret: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.view.shape[:2]

    def fitted_logo(self, scale: float = 4.0, jitter: int = 0) -> FittedLogo:
        """The logo, scaled to one part in ``scale`` of each side of the image.

        Args:
            scale: ``sl`` of MedLocker.
            jitter: opacity limits vary by up to this from pixel to pixel, by the secret.

        Raises:
            InputError: when the logo does not fit, or nothing of it would be seen.
        """
        opacity, colour = fit_logo(self.logo, self.size, scale)
        less = self.jitter(opacity.shape, jitter)
        if less.any():  # a coloured mark on grey pixels would tell the opacity of each of them
            colour = in_grey(colour)
        return FittedLogo(opacity, colour, less)

    def jitter(self, shape: tuple[int, int], depth: int) -> np.ndarray:
        """Integers in [0, depth] that nobody guesses who does not know the secret, uint8; equal shapes get equal ones."""
        rng = np.random.Generator(np.random.Philox(key=int.from_bytes(self.secret[:16], "big")))
        return rng.integers(0, depth + 1, shape).astype(np.uint8)

    def positions(self, mark: tuple[int, int]) -> np.ndarray:
        """Where the upper left corner of a mark (h, w) may be, (H - h + 1, W - w + 1) bool.

        Raises:
            InputError: when it may be nowhere.
        """
        found = admissible(self.size, mark, self.forbidden)
        if self.target is not None:
            found &= touches(self.size, mark, self.target) > 0
        if not found.any():
            raise InputError(
                f"image: there is no place for a logo of {mark[1]} x {mark[0]} pixels that keeps to the given regions. "
                "Make the logo smaller (a larger scale), or allow it anywhere."
            )
        return found

    def fault(self, overlay: Overlay) -> str:
        """What is wrong with a proposed mark; empty for one that is admissible."""
        if not isinstance(overlay, Overlay):
            return f"expected an Overlay, got {type(overlay).__name__}"
        height, width = overlay.opacity.shape
        if overlay.colour.shape != (height, width, 3) or {overlay.opacity.dtype, overlay.colour.dtype} != {
            np.dtype("u1")
        }:
            return "expected opacity (h, w) and colour (h, w, 3), both uint8"
        if min(overlay.x, overlay.y) < 0 or overlay.y + height > self.size[0] or overlay.x + width > self.size[1]:
            return f"{width} x {height} at column {overlay.x}, row {overlay.y} does not lie inside the image"
        if self.forbidden is not None and (self.forbidden[overlay.window] & (overlay.opacity > 0)).any():
            return "lies where it is forbidden"
        if self.target is not None and not self.target[overlay.window].any():
            return "does not touch the target"
        return ""


class Search(ABC):
    """A black-box search on one image: it is asked for marks, and told what the oracle says of them.

    It need not know that other images are searched at the same time, nor that a mark it repeats is not shown again. It ends when it
    proposes nothing, or when a mark misleads the oracle; the best mark is kept by the core.

    Example:
        >>> from privmed.interfaces.search import Search
        >>> class OneByOne(Search):
        ...     def __init__(self, marks):
        ...         self.marks = list(marks)
        ...     def ask(self):
        ...         return [self.marks.pop()] if self.marks else []
        ...     def tell(self, marks, probabilities):
        ...         pass  # a cleverer search chooses the next mark by what it is told
        >>> OneByOne([]).ask()
        []
    """

    @abstractmethod
    def ask(self) -> Sequence[Overlay]:
        """The marks to try next; none when the search is over."""

    @abstractmethod
    def tell(self, marks: Sequence[Overlay], probabilities: np.ndarray) -> None:
        """Learn what the oracle says of all that was asked for, (n, classes) float32."""


class Proposals(Search):
    """A list of marks and no search: the best one is taken, or the first one where there is no oracle.

    Example:
        >>> import numpy as np
        >>> from privmed.imaging.overlay import Overlay
        >>> from privmed.interfaces.search import Proposals
        >>> square = Overlay(4, 8, np.full((6, 6), 200, np.uint8), np.full((6, 6, 3), 255, np.uint8))
        >>> search = Proposals([square])
        >>> len(search.ask()), len(search.ask())
        (1, 0)
    """

    def __init__(self, marks: Iterable[Overlay]) -> None:
        self.marks = list(marks)

    def ask(self) -> Sequence[Overlay]:
        marks, self.marks = self.marks, []
        return marks

    def tell(self, marks: Sequence[Overlay], probabilities: np.ndarray) -> None:
        """There is nothing to learn."""
