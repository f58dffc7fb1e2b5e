"""FileHider: carry any file in a photograph, under a key, and give it back bit for bit."""

from __future__ import annotations

import hashlib
import secrets
from abc import abstractmethod
from typing import Any, ClassVar, NoReturn, final

import numpy as np
import torch
from torch import Tensor

from privmed.errors import InputError, KeyFileError, SettingsError
from privmed.imaging.wire import from_bytes, to_bytes
from privmed.interfaces import validation
from privmed.interfaces.base import Method
from privmed.locks import Passphrase, need_cryptography
from privmed.shared_key import SharedKey

Key = Passphrase | SharedKey


class FileHider(Method):
    """Contract of hiders that carry files and not images: what comes out is what went in, and nothing can be analysed in between.

    A plugin implements :meth:`_hide_file`, :meth:`_recover_file`, :meth:`_capacity` and :meth:`_size_of`, on 8-bit pixels. It is listed
    among the hiders, with the ability ``hide_file``; :meth:`hide` and :meth:`recover` of images say that it has none.

    Example:
        >>> import privmed, secrets, torch
        >>> from privmed.shared_key import SharedKey
        >>> hider, key = privmed.hider("lsbm"), SharedKey(secrets.token_bytes(32))
        >>> stego = hider.hide_file(b"report", torch.rand(1, 3, 64, 64), key)
        >>> hider.recover_file(stego, key)
        b'report'
    """

    kind: ClassVar[str] = "hider"

    @final
    def hide_file(
        self, data: bytes, cover: Tensor, key: Key, *, generator: torch.Generator | int | None = None
    ) -> Tensor:
        """Hide a file in a photograph of any size.

        Args:
            data: the file.
            cover: the photograph, (1, 1 or 3, H, W) in [0, 1], sides at least 32; rounded to 8 bits. One whose three channels are
                equal everywhere counts as grey, since changes in colour would show.
            key: what the file is locked with, and alone opened by.
            generator: a generator or a seed gives the same stego for the same file, cover and key; for tests. By default what has to
                be random comes from the system.

        Returns:
            The stego, (1, 1 or 3, H, W) float32, exactly on the 256 levels of an 8-bit file. It must stay as it is, to the last bit.

        Raises:
            InputError: for a wrong type, shape or range, more than one image, NaN, or a photograph that is too small, with the size
                that it takes.
            KeyFileError: when ``key`` is no key.
        """
        pixels = _pixels("cover", cover)
        stego = self._hide_file(_bytes(data), pixels, _checked(key), _entropy(data, pixels, generator))
        if not isinstance(stego, np.ndarray) or (stego.shape, stego.dtype) != (pixels.shape, pixels.dtype):
            raise InputError(f"hider {self.name!r} broke its contract: the stego must have the shape of the cover.")
        return from_bytes(stego)

    @final
    def recover_file(self, stego: Tensor, key: Key) -> bytes:
        """Return the file that is hidden in ``stego``, bit for bit.

        Args:
            stego: (1, 1 or 3, H, W) in [0, 1], sides at least 32, as :meth:`hide_file` returned it.
            key: what it was locked with.

        Raises:
            InputError: for a wrong type, shape or range, more than one image, NaN; for a file larger than the limit of
                :mod:`privmed.limits`.
            KeyFileError: when the key opens nothing: it is another one, or nothing is hidden; nobody without the key can tell which.
            VerificationError: when the key fits, but the image was altered.
        """
        return self._recover_file(_pixels("stego", stego), _checked(key))

    @final
    def capacity(self, cover: Tensor) -> int:
        """How many bytes fit into a photograph, as :meth:`size_of` counts them.

        Args:
            cover: (1, 1 or 3, H, W) in [0, 1], sides at least 32.

        Raises:
            InputError: for a wrong type, shape or range, more than one image, or NaN.
        """
        return self._capacity(_pixels("cover", cover))

    @final
    def size_of(self, data: bytes) -> int:
        """How many bytes of the capacity a file takes: those that are left when it is compressed.

        Raises:
            InputError: when ``data`` is not of type bytes.
        """
        return self._size_of(_bytes(data))

    @final
    def hide(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: it carries files.

        Raises:
            SettingsError: always.
        """
        self.refuse()

    @final
    def recover(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: it carries files.

        Raises:
            SettingsError: always.
        """
        self.refuse()

    @classmethod
    def refuse(cls) -> NoReturn:
        """Say that it cannot stand where a hider of images is needed.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(
            f"{cls.name} carries files under a key; it hides no image that could be analysed, refined or trained on. Use hide_file() and "
            "recover_file() (privmed hide --key), or a hider of images such as lightih."
        )

    @abstractmethod
    def _hide_file(self, data: bytes, cover: np.ndarray, key: Key, entropy: bytes) -> np.ndarray:
        """Return the stego, in the shape of ``cover``, (H, W, 1 or 3) uint8; all randomness comes from 32 bytes of ``entropy``."""

    @abstractmethod
    def _recover_file(self, stego: np.ndarray, key: Key) -> bytes:
        """Return the file, or raise as :meth:`recover_file` says."""

    @abstractmethod
    def _capacity(self, cover: np.ndarray) -> int:
        """Return how many bytes fit after compression."""

    @abstractmethod
    def _size_of(self, data: bytes) -> int:
        """Return how many bytes are left after compression."""


def _bytes(data: bytes) -> bytes:
    if not isinstance(data, bytes):
        raise InputError(f"data: expected the bytes of a file, got {type(data).__name__}.")
    return data


def _pixels(name: str, image: Tensor) -> np.ndarray:
    """One checked image as 8-bit pixels, (H, W, 1 or 3)."""
    validation.tensor(name, image, channels=(1, 3))
    if len(image) != 1:
        raise InputError(f"{name}: expected one image, got a batch of {len(image)}.")
    pixels = to_bytes(validation.in_unit_range(name, validation.finite(name, image)))
    if pixels.ndim == 2:
        return pixels[..., None]
    return pixels[..., :1] if (pixels == pixels[..., :1]).all() else pixels


def _checked(key: Key) -> Key:
    need_cryptography()
    if not isinstance(key, Key):
        raise KeyFileError(
            f"key: expected privmed.locks.Passphrase or privmed.shared_key.SharedKey, got {type(key).__name__}."
        )
    return key


def _entropy(data: bytes, cover: np.ndarray, generator: torch.Generator | int | None) -> bytes:
    """From the system; or from a generator, the file and the photograph, so that no two files ever share what must be used once."""
    if generator is None:
        return secrets.token_bytes(32)
    drawn = torch.randint(
        256, (32,), generator=validation.generator_for(generator, torch.device("cpu")), dtype=torch.uint8
    )
    parts = (drawn.numpy(), hashlib.sha256(data).digest(), repr(cover.shape).encode(), np.ascontiguousarray(cover))
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()
