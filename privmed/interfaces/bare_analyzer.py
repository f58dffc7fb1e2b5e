"""BareAnalyzer: segment or classify images that are not hidden, and those alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NoReturn, final

from torch import Tensor

from privmed.errors import InputError, SettingsError
from privmed.interfaces import validation
from privmed.interfaces.base import Method


class BareAnalyzer(Method):
    """Contract of analyzers that take bare images and answer with no image: what covert analysis is held against.

    A plugin implements :meth:`_segment`. It is listed among the analyzers, with the ability ``segment``; it is trained by the task ``bare``
    and judged by the suite ``covert`` on bare images. :meth:`analyze`, :meth:`decode` and :meth:`presence` say that it has none. What it
    is trained for is told by settings, as of :class:`privmed.Analyzer`: ``classes`` or ``mask_classes``.

    Example:
        >>> import torch
        >>> from privmed import BareAnalyzer
        >>> class Dark(BareAnalyzer):
        ...     name = "dark"
        ...     def _segment(self, image):
        ...         return 10 * (0.5 - image.mean(1, keepdim=True))
        >>> Dark().segment(torch.rand(1, 1, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    kind: ClassVar[str] = "analyzer"
    multiple = 1

    @final
    def segment(self, image: Tensor, *, check_values: bool = True) -> Tensor:
        """Segment or classify images.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            check_values: refuse NaN and values out of range, as of :class:`privmed.Analyzer`.

        Returns:
            Logits: (B, 1, H, W) of a foreground, (B, mask classes, H, W), or (B, classes). With a gradient in training mode, or when
            ``image`` asks for one.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        image_ = validation.image("image", image, values=check_values).to(self.device)
        with self._at_work(image):
            padded = validation.pad(image_, self.multiple)
            found = self._segment(padded)
            classes = isinstance(found, Tensor) and found.ndim == 2
            channels = found.shape[1] if classes or (isinstance(found, Tensor) and found.ndim == 4) else 1
            sides = () if classes else padded.shape[-2:]
            found = self._check_output(found, (len(image_), channels, *sides), "segmented")
            return (found if classes else validation.crop(found, image_.shape[-2:])).to(image.device)

    @final
    def analyze(self, stego: Tensor, **how: Any) -> NoReturn:
        """Refuse hidden images.

        Raises:
            InputError: always.
        """
        raise InputError(self._refusal())

    @final
    def decode(self, recovered: Tensor, **how: Any) -> NoReturn:
        """Refuse what was recovered from an answer.

        Raises:
            InputError: always.
        """
        raise InputError(self._refusal())

    @final
    def presence(self, recovered: Tensor, **how: Any) -> NoReturn:
        """Refuse what was recovered from an answer.

        Raises:
            InputError: always.
        """
        raise InputError(self._refusal())

    @classmethod
    def refuse(cls) -> NoReturn:
        """Say that it cannot stand where hidden images are analysed.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(cls._refusal())

    @classmethod
    def _refusal(cls) -> str:
        return (
            f"{cls.name} takes bare images alone and answers with no image. Train it with the task bare, judge it with the hider none, "
            "or use an analyzer of hidden images such as hidemia."
        )

    @abstractmethod
    def _segment(self, image: Tensor) -> Tensor:
        """Return logits: (B, 1, H, W), (B, mask classes, H, W) or (B, classes)."""
