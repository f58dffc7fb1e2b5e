"""Hider: put a secret image into a cover photograph, and get it back."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from privmed.interfaces import door
from privmed.interfaces.base import Method


class Hider(Method):
    """Contract of image hiding (HideMIA, Sec. 3.1: ``H`` and ``R``).

    A plugin implements :meth:`_hide` and :meth:`_recover`. Both are differentiable and see float32 batches of three
    channels in [0, 1], padded to ``multiple``; they return unclamped values of the same shape.
    """

    kind: ClassVar[str] = "hider"
    multiple = 2

    @final
    def hide(self, secret: Tensor, cover: Tensor, *, generator: torch.Generator | int | None = None) -> Tensor:
        """Hide ``secret`` in ``cover``.

        Args:
            secret: what nobody may see, (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            cover: what everybody may see, (B or 1, 1 or 3, any, any) in [0, 1]; aspect-filled to the secret's size.
            generator: source of randomness for methods that need any; a generator or a seed (default 0).

        Returns:
            The stego, (B, 3, H, W) float32 in [0, 1], not yet rounded to 8 bits.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        secret_, cover_ = door.image("secret", secret), door.image("cover", cover)
        size = secret_.shape[-2:]
        cover_ = door.fill(door.same_batch("cover", cover_, "secret", secret_), size)
        secret_, cover_ = secret_.to(self.device), cover_.to(self.device)
        with self._at_work(secret, cover):
            stego = self._hide(
                door.pad(secret_, self.multiple),
                door.pad(cover_, self.multiple),
                door.generator_for(generator, self.device),
            )
            stego = door.crop(self._check_output(stego, door.pad(secret_, self.multiple).shape, "stego"), size)
            return stego.clamp(0, 1).to(secret.device)

    @final
    def recover(self, stego: Tensor, *, clamp: bool = True, generator: torch.Generator | int | None = None) -> Tensor:
        """Read the hidden image out of ``stego`` (or out of a server's ``response``).

        Args:
            stego: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            clamp: keep the result in [0, 1]. Switch it off when the result feeds :meth:`Analyzer.decode`, which reads
                values beyond the range of an image as stronger evidence.
            generator: source of randomness for methods that need any; a generator or a seed (default 0).

        Returns:
            The recovered image, (B, 3, H, W) float32; a grey secret comes back with three almost equal channels.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        stego_ = door.image("stego", stego).to(self.device)
        with self._at_work(stego):
            padded = door.pad(stego_, self.multiple)
            recovered = self._recover(padded, door.generator_for(generator, self.device))
            recovered = door.crop(self._check_output(recovered, padded.shape, "recovered"), stego_.shape[-2:])
            return (recovered.clamp(0, 1) if clamp else recovered).to(stego.device)

    @abstractmethod
    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        """Return the stego, unclamped, in the shape of ``secret``; ``secret`` and ``cover`` have equal shapes."""

    @abstractmethod
    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        """Return the recovered secret, unclamped, in the shape of ``stego``."""
