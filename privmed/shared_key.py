"""A key that sender and receiver share: 32 random bytes in a small text file."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from privmed.errors import KeyFileError
from privmed.files import check_writable, whole_file
from privmed.locks import read_bytes

HEAD = b"privmed shared key 1\n"
LENGTH = 32  # bytes


@frozen
class SharedKey:
    """A key that is random already, so that nothing has to be slowed down; see :class:`privmed.locks.Passphrase` for words."""

    secret: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != LENGTH:
            raise KeyFileError(f"key: expected {LENGTH} random bytes, for instance of secrets.token_bytes({LENGTH}).")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SharedKey:
        """Read a key file; one that is not exactly what :func:`make_shared_key` writes is refused.

        Raises:
            KeyFileError: when the file is missing, or anything else.
        """
        found = re.fullmatch(re.escape(HEAD) + rb"([0-9a-f]{%d})\n" % (2 * LENGTH), read_bytes(path))
        if not found:
            raise KeyFileError(
                f"{path}: is no shared key, or is damaged. Make one with privmed keygen --shared, and give the receiver a copy."
            )
        return cls(bytes.fromhex(found[1].decode()))

    def derive(self, salt: bytes) -> bytes:
        """32 bytes that only this key and this salt give."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=HEAD).derive(self.secret)


def make_shared_key(path: str | os.PathLike[str]) -> Path:
    """Make a key file, readable by its owner alone.

    Raises:
        OutputError: when it exists or cannot be written.
    """
    path = Path(path)
    check_writable(path, force=False)
    with whole_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(HEAD + secrets.token_bytes(LENGTH).hex().encode() + b"\n")
    return path


def with_key(method: Any, rng: np.random.Generator | int = 0) -> Any:
    """Give a method of the ability ``use_key`` a key drawn by a seed, for trainings, tests and benchmarks; others stay as they are."""
    if hasattr(method, "use_key"):
        method.use_key(SharedKey(np.random.default_rng(rng).bytes(LENGTH)))
    return method
