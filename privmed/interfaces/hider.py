"""Hider: put a secret image into a cover photograph, and get it back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import torch
from torch import Tensor

from privmed.interfaces import validation
from privmed.interfaces.base import Method
from privmed.refine import Refinement
from privmed.refine import refine as improve
from privmed.settings import structure


class Hider(Method):
    """Contract of image hiding (HideMIA: ``H`` and ``R``).

    A plugin implements :meth:`_hide` and :meth:`_recover`. Both are differentiable and see float32 batches of three
    channels in [0, 1], padded to ``multiple``; they return unclamped values of the same shape.

    Attributes:
        tile: larger images are cut into tiles of at most this side, each hidden and recovered by itself, so that memory stays
            bounded. Part of what a stego means: both sides must use the same. None for methods that need the whole image.

    Example:
        >>> import torch
        >>> from privmed import Hider
        >>> class Faint(Hider):
        ...     name = "faint"
        ...     def _hide(self, secret, cover, generator):
        ...         return 0.9 * cover + 0.1 * secret
        ...     def _recover(self, stego, generator):
        ...         return stego
        >>> Faint().hide(torch.rand(1, 1, 32, 32), torch.rand(1, 3, 64, 48)).shape
        torch.Size([1, 3, 32, 32])
    """

    kind: ClassVar[str] = "hider"
    multiple = 2
    tile: ClassVar[int | None] = None

    @final
    def hide(
        self,
        secret: Tensor,
        cover: Tensor,
        *,
        clamp: bool = True,
        check_values: bool = True,
        refine: int | Refinement = 0,
        progress: Callable[[int, int], None] | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Hide ``secret`` in ``cover``.

        Args:
            secret: what nobody may see, (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            cover: what everybody may see, (B or 1, 1 or 3, any, any) in [0, 1]; aspect-filled to the secret's size.
            clamp: keep the stego in [0, 1]; a training loss wants to see what lies beyond.
            check_values: refuse NaN and values out of range. Trainings switch it off: a guard watches their loss, and rounding may be off.
            refine: gradient steps (or a :class:`privmed.refine.Refinement`) that make the stego give the secret back better, at the
                sender's cost alone.
            progress: called with how many tiles of a large image are hidden and their number, then with the refining steps taken and
                theirs.
            generator: source of randomness for methods that need any; a generator or a seed (default 0).

        Returns:
            The stego, (B, 3, H, W) float32 in [0, 1], not yet rounded to 8 bits. With a gradient in training mode (``hider.train()``),
            or when ``secret`` or ``cover`` asks for one.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
            SettingsError: for ``refine`` where :meth:`recover` has no gradient.
        """
        secret_, cover_ = (
            validation.image(name, x, values=check_values) for name, x in (("secret", secret), ("cover", cover))
        )
        size = secret_.shape[-2:]
        cover_ = validation.fill(validation.same_batch("cover", cover_, "secret", secret_), size)
        secret_, cover_ = secret_.to(self.device), cover_.to(self.device)
        with self._at_work(secret, cover):
            source = validation.generator_for(generator, self.device)
            padded = validation.pad(secret_, self.multiple), validation.pad(cover_, self.multiple)
            stego = self._tiled(lambda s, c: self._hide(s, c, source), "stego", *padded, clamp=clamp, progress=progress)
            stego = validation.crop(stego, size)
            how = refine if isinstance(refine, Refinement) else structure(Refinement, {"steps": refine}, "refine")
            if how.steps:
                stego = self._refined(stego, secret_, cover_, how, progress, source)
            return stego.to(secret.device)

    @final
    def recover(
        self,
        stego: Tensor,
        *,
        clamp: bool = True,
        check_values: bool = True,
        progress: Callable[[int, int], None] | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Read the hidden image out of ``stego`` (or out of a server's ``response``).

        Args:
            stego: (B, 1 or 3, H, W) in [0, 1], sides at least 32.
            clamp: keep the result in [0, 1]. Switch it off when the result feeds :meth:`Analyzer.decode`, which reads
                values beyond the range of an image as stronger evidence.
            check_values: refuse NaN and values out of range. Trainings switch it off: a guard watches their loss, and rounding may be off.
            progress: called with how many tiles of a large image are read, and their number.
            generator: source of randomness for methods that need any; a generator or a seed (default 0).

        Returns:
            The recovered image, (B, 3, H, W) float32; a grey secret comes back with three almost equal channels.

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        stego_ = validation.image("stego", stego, values=check_values).to(self.device)
        with self._at_work(stego):
            source = validation.generator_for(generator, self.device)
            padded = validation.pad(stego_, self.multiple)
            recovered = self._tiled(
                lambda s: self._recover(s, source), "recovered", padded, clamp=clamp, progress=progress
            )
            return validation.crop(recovered, stego_.shape[-2:]).to(stego.device)

    def _fixed(self, stego: Tensor) -> Tensor | None:
        """Which values of a stego (or tile) refining has to leave as they are, boolean of its shape; by default none."""
        return None

    def _refined(
        self,
        stego: Tensor,
        secret: Tensor,
        cover: Tensor,
        how: Refinement,
        progress: Callable[[int, int], None] | None,
        generator: torch.Generator,
    ) -> Tensor:
        """Refine tile by tile, each as :meth:`recover` will cut and pad it."""
        height, width = stego.shape[-2:]
        rows, columns = (_cuts(n + -n % self.multiple, self.tile, self.multiple) for n in (height, width))
        tiles = [(slice(*row), slice(*column)) for row in rows for column in columns]
        before = generator.get_state()

        def recover(tile: Tensor) -> Tensor:
            generator.set_state(before)  # the same latent in every step
            return validation.crop(
                self._recover(validation.pad(tile, self.multiple), generator).float(), tile.shape[-2:]
            )

        stego = stego.detach().clone()
        for n, at in enumerate(tiles):
            tell = None if progress is None else lambda done, of, n=n: progress(n * of + done, len(tiles) * of)
            parts = [x[..., at[0], at[1]] for x in (stego, secret, cover)]
            stego[..., at[0], at[1]] = improve(recover, *parts, how, tell, self._fixed(parts[0]))
        return stego

    def _tiled(
        self,
        call: Callable[..., Tensor],
        what: str,
        *images: Tensor,
        clamp: bool,
        progress: Callable[[int, int], None] | None,
    ) -> Tensor:
        """Call it on whole images, or on tiles that share nothing, and put its answers together."""

        def made(*parts: Tensor) -> Tensor:
            answer = self._check_output(call(*parts), parts[0].shape, what)
            return answer.clamp(0, 1) if clamp else answer

        height, width = images[0].shape[-2:]
        rows, columns = (_cuts(n, self.tile, self.multiple) for n in (height, width))
        tiles = [(..., slice(*row), slice(*column)) for row in rows for column in columns]
        if len(tiles) == 1:
            return made(*images)
        whole: Tensor | None = None
        for n, at in enumerate(tiles, 1):
            tile = made(*(x[at] for x in images))
            whole = tile.new_empty((*tile.shape[:2], height, width)) if whole is None else whole
            whole[at] = tile
            if progress is not None:
                progress(n, len(tiles))
        return whole

    @abstractmethod
    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        """Return the stego, unclamped, in the shape of ``secret``; ``secret`` and ``cover`` have equal shapes."""

    @abstractmethod
    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        """Return the recovered secret, unclamped, in the shape of ``stego``."""


def _cuts(length: int, tile: int | None, multiple: int) -> list[tuple[int, int]]:
    """Nearly equal parts of at most ``tile``, each but the last a multiple of ``multiple`` long."""
    if tile is None or length <= tile:
        return [(0, length)]
    parts = -(-length // tile)
    step = -(-length // (parts * multiple)) * multiple
    return [(start, min(start + step, length)) for start in range(0, length, step)]
