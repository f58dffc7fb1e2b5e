"""Analyzer: analyse a hidden scan inside its stego, and answer with an image that still looks like the cover."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.interfaces import validation
from privmed.interfaces.base import Method


class Analyzer(Method):
    """Contract of covert analysis (HideMIA: ``M`` on the server, decoding on the client).

    A plugin implements :meth:`_analyze` (server) and :meth:`_decode` (client). Both are differentiable and return
    unbounded values; the core clamps the response and turns logits into probabilities.

    What it is trained for is told by settings, which a recipe sets: ``classes`` (above 0 it classifies), ``mask_classes`` (above 0 it
    segments so many classes, the background, class 0, among them) and ``presence`` (it also tells whether anything was hidden at all). One
    that has none of them segments a foreground.

    Example:
        >>> import torch
        >>> from privmed import Analyzer
        >>> class Bright(Analyzer):
        ...     name = "bright"
        ...     def _analyze(self, stego, generator):
        ...         return stego
        ...     def _decode(self, recovered):
        ...         return 10 * (recovered.mean(1, keepdim=True) - 0.5)
        >>> Bright().decode(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    kind: ClassVar[str] = "analyzer"
    multiple = 32

    @final
    def analyze(
        self,
        stego: Tensor,
        *,
        clamp: bool = True,
        check_values: bool = True,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Analyse a stego, on the server.

        Args:
            stego: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            clamp: keep the response in [0, 1]; a training loss wants to see what lies beyond.
            check_values: refuse NaN and values out of range. Trainings switch it off: a guard watches their loss, and rounding may be off.
            generator: source of randomness for methods that need any; a generator or a seed (default 0).

        Returns:
            The response, (B, 3, H, W) float32 in [0, 1], not yet rounded to 8 bits. With a gradient in training mode, or when ``stego``
            asks for one.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        stego_ = validation.image("stego", stego, values=check_values).to(self.device)
        with self._at_work(stego):
            padded = validation.pad(stego_, self.multiple)
            response = self._analyze(padded, validation.generator_for(generator, self.device))
            response = validation.crop(self._check_output(response, padded.shape, "response"), stego_.shape[-2:])
            return (response.clamp(0, 1) if clamp else response).to(stego.device)

    @final
    def decode(self, recovered: Tensor, *, logits: bool = False, check_values: bool = True) -> Tensor:
        """Read the result out of what the hider recovered from the response, on the client.

        Args:
            recovered: (B, 1 or 3, H, W), best unclamped (``hider.recover(response, clamp=False)``).
            logits: return the unbounded values behind the probabilities, which losses are computed of.
            check_values: refuse NaN, see :meth:`analyze`.

        Returns:
            Segmentation: probabilities of the foreground, (B, 1, H, W) in [0, 1], or of several classes, (B, K, H, W), which sum to one
            in each pixel; classification: (B, classes).

        Raises:
            InputError: for wrong types, shapes, NaN, or sides below 32.
        """
        recovered_ = validation.image("recovered", recovered, bounded=False, values=check_values).to(self.device)
        with self._at_work(recovered):
            found = self._decode(recovered_).float().to(recovered.device)
            b, _, h, w = recovered_.shape
            if found.ndim != 2:
                channels = found.shape[1] if found.ndim == 4 else 1
                found = self._check_output(found, (b, channels, h, w), "decoded")
            elif found.shape[0] != b:
                raise InputError(f"analyzer {self.name!r} broke its contract: decoded has shape {tuple(found.shape)}.")
            return found if logits else probabilities(found)

    @final
    def presence(self, recovered: Tensor, *, logits: bool = False, check_values: bool = True) -> Tensor | None:
        """Tell on the client whether the response answers a stego at all, or a photograph in which nothing was hidden.

        Args:
            recovered: (B, 1 or 3, H, W), as for :meth:`decode`.
            logits: return the unbounded values behind the probabilities.
            check_values: refuse NaN, see :meth:`analyze`.

        Returns:
            Probabilities that a scan was hidden, (B,) in [0, 1]; None for an analyzer that cannot tell.

        Raises:
            InputError: for wrong types, shapes, NaN, or sides below 32.
        """
        recovered_ = validation.image("recovered", recovered, bounded=False, values=check_values).to(self.device)
        with self._at_work(recovered):
            found = self._presence(recovered_)
            if found is None:
                return None
            found = self._check_output(found, (len(recovered_),), "presence").to(recovered.device)
            return found if logits else found.sigmoid()

    @abstractmethod
    def _analyze(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        """Return the response, unclamped, in the shape of ``stego``."""

    @abstractmethod
    def _decode(self, recovered: Tensor) -> Tensor:
        """Return logits: (B, 1, H, W) of the foreground or (B, K, H, W) of classes for segmentation, (B, classes) for classification."""

    def _presence(self, recovered: Tensor) -> Tensor | None:
        """Return logits (B,), above 0 where a scan was hidden; None where an analyzer cannot tell."""
        return None


def probabilities(logits: Tensor) -> Tensor:
    """What logits of an analyzer mean: the sigmoid of a foreground (B, 1, H, W), else the softmax over classes."""
    return logits.sigmoid() if logits.ndim == 4 and logits.shape[1] == 1 else logits.softmax(1)
