"""Protector: change images so little that doctors can read them, and so cleverly that models trained on them are misled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from privmed.errors import InputError, SettingsError, WeightsError
from privmed.imaging.bound import snap
from privmed.interfaces import validation
from privmed.interfaces.base import Method
from privmed.interfaces.configs import LearningConfig, ProtectorConfig
from privmed.interfaces.fitting import Fitting, TrainingPairs

Pair = tuple[Tensor, Tensor | int]


class Protector(Method):
    """Contract of unlearnable data sets. The ``Config`` of a protector extends ``Protector.Config``, or, where it ``learns``,
    ``Protector.LearningConfig``.

    A plugin implements :meth:`_protect`, and :meth:`_fit` when it has to learn first. Both may trust what they get; whatever
    :meth:`_protect` returns is cut to the bound and to the support here.

    Attributes:
        learns: whether :meth:`fit` must come before :meth:`protect`.
        tasks: what it can protect, of ``"segmentation"`` and ``"classification"``.
        undone_by: names of defences of the suite ``protection`` after which most is learnt from what it publishes, which
            ``privmed protect --judge quick`` tries in place of its usual ones.

    Example:
        >>> import torch
        >>> from privmed import Protector
        >>> class Grain(Protector):
        ...     name = "grain"
        ...     def _protect(self, image, mask, generators):
        ...         return torch.stack([x + 0.01 * torch.randn(x.shape, generator=g) for x, g in zip(image, generators)])
        >>> Grain().protect(torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32)).shape
        torch.Size([2, 1, 32, 32])
    """

    kind: ClassVar[str] = "protector"
    Config: ClassVar[type[ProtectorConfig]] = ProtectorConfig
    LearningConfig: ClassVar[type[LearningConfig]] = LearningConfig
    learns: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "classification")
    undone_by: ClassVar[tuple[str, ...]] = ()
    fitted: Tensor

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        if not 0 < self.config.epsilon <= 1:
            raise SettingsError(f"{self.name}: epsilon must lie in (0, 1], e.g. 4/255.")
        self.register_buffer("fitted", torch.tensor(not self.learns))

    @property
    def classes(self) -> int:
        """How many classes it tells apart; 0 where it does not care, as in segmentation."""
        return 0

    @property
    def reach(self) -> float:
        """The largest change of any pixel; ``epsilon``, unless a setting asks for a ball of another norm."""
        return self.config.epsilon

    @property
    def note(self) -> str:
        """What whoever uses the result has to know, a sentence, e.g. that a fit was shortened; it is told and kept in the manifest."""
        return ""

    @final
    def fit(self, dataset: Iterable[Pair], *, fitting: Fitting | None = None) -> Protector:
        """Learn from a data set; methods that have nothing to learn accept the call and leave it unread.

        Args:
            dataset: pairs of an image, (C, H, W) or (1, C, H, W) in [0, 1], and what an exploiter would train on: a mask of its
                size, 0 or 1, or a class number. Sizes and channels may differ. It is read once.
            fitting: who is told how far it is, and keeps what a resumed run needs.

        Returns:
            The protector itself.

        Raises:
            InputError: for a pair that cannot be used, naming its place; for an empty data set.
            TrainingError: when the surrogate diverges; the message says what to change.
        """
        if self.learns:
            with TrainingPairs(dataset, self.config.size) as pairs, torch.enable_grad():
                self._check_task(pairs.task)
                self.requires_grad_(True)
                fitting = fitting or Fitting()
                fitting.of = f"{self.name} {self.config} {pairs.digest}"
                self._fit(pairs, fitting)
            self.requires_grad_(False).eval()
            self.fitted.fill_(True)
        return self

    @final
    def protect(
        self,
        image: Tensor,
        mask: Tensor,
        *,
        levels: int | None = 255,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Return protected images.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            mask: the truth an exploiter would train on: (B, 1, H, W), 0 or 1; or class numbers (B,).
            levels: the largest integer of the file the result goes to, 255 for 8 bits; the bound then holds after rounding.
                None leaves the result unrounded.
            generator: source of randomness; a generator or a seed (the setting ``seed`` by default). Each image draws from
                its own generator, made of this seed and its pixels: a batch gives what its items give.

        Returns:
            The shape of ``image``, in [0, 1], at most :attr:`reach` from ``image`` in any pixel, equal to it outside
            :meth:`support` (both are enforced here).

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, a mask of another size, or values other than 0 and 1.
            WeightsError: before :meth:`fit`, for methods that learn.
        """
        clean, truth = self._checked(image, mask)
        if not self.fitted:
            raise WeightsError(
                f"{self.name} has not been fitted. Call fit(dataset) first, or load a fitted one with weights=PATH."
            )
        seed = self.config.seed if generator is None else generator
        generators = [validation.generator_of(seed, x, self.device) for x in clean]
        padded = validation.pad(clean, self.multiple)
        target = validation.pad(truth, self.multiple) if truth.ndim == 4 else truth
        with torch.no_grad():
            protected = self._protect(padded, target, generators)
            protected = validation.crop(self._check_output(protected, padded.shape, "protected"), clean.shape[-2:])
            protected = torch.clamp(protected, clean - self.reach, clean + self.reach).clamp(0, 1)
            protected = protected if levels is None else snap(protected, clean, self.reach, levels)
            return torch.where(self._support(clean, truth), protected, clean).to(image.device)

    @final
    def support(self, image: Tensor, mask: Tensor) -> Tensor:
        """Where :meth:`protect` may act on these images, (B, 1, H, W) bool."""
        clean, truth = self._checked(image, mask)
        return self._support(clean, truth).expand(len(clean), 1, *clean.shape[-2:]).to(image.device)

    def _checked(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        validation.tensor("image", image, channels=(1, 3))
        clean = validation.in_unit_range("image", validation.finite("image", image)).to(self.device)
        truth = validation.truth("mask", mask, like=clean).to(self.device)
        self._check_task("segmentation" if truth.ndim == 4 else "classification")
        if truth.ndim == 1 and self.classes and int(truth.max()) >= self.classes:
            raise InputError(f"mask: class {int(truth.max())}, but {self.name} was set to {self.classes} classes.")
        return clean, truth

    def _check_task(self, task: str) -> None:
        if task not in self.tasks:
            raise InputError(f"mask: {self.name} protects {' and '.join(self.tasks)} data, not {task} data.")

    def _fit(self, pairs: TrainingPairs, fitting: Fitting) -> None:
        """Learn from the pairs; nothing to do by default."""

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        """Where the method may act, (B or 1, 1, H or 1, W or 1) bool; everywhere by default."""
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=image.device)

    @abstractmethod
    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return protected images in the shape of ``image``; one generator an image."""
