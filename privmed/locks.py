"""Locks of a key file and what opens them: passphrases (scrypt, RFC 7914) and key pairs (X25519 with HKDF-SHA256).

Each lock wraps the same *data key* with ChaCha20-Poly1305 (RFC 8439).
"""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import field, frozen

from privmed import limits
from privmed.errors import InputError, KeyFileError, MissingDependencyError

SCRYPT = {"n": 2**16, "r": 8, "p": 1}  # 64 MiB
INFO = b"privmed key 1\n"  # sets our agreed keys apart from everybody else's


@frozen
class Passphrase:
    """A lock and a key: who knows the words opens the file."""

    words: str = field(repr=False)

    def wrap(self, secret: bytes) -> dict[str, Any]:
        """The data key under this passphrase."""
        salt = os.urandom(16)
        return {"kind": "passphrase", **SCRYPT, "salt": _text(salt), **_seal(self._stretch(salt, **SCRYPT), secret)}

    def unwrap(self, lock: dict[str, Any]) -> bytes | None:
        """The data key, or None when this is another lock."""
        if lock["kind"] != "passphrase":
            return None
        costs = {name: int(lock[name]) for name in ("n", "r", "p")}
        if costs["n"] * costs["r"] * costs["p"] > 2**24:
            raise KeyFileError("the key file asks for more memory than any we write, so it was tampered with.")
        return _open(self._stretch(_bytes(lock["salt"]), **costs), lock)

    def derive(self, salt: bytes) -> bytes:
        """32 bytes that only these words and this salt give, at the cost of a new lock: 64 MiB and a moment."""
        return self._stretch(salt, **SCRYPT)

    def _stretch(self, salt: bytes, n: int, r: int, p: int) -> bytes:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(unicodedata.normalize("NFC", self.words).encode())


@frozen
class Recipient:
    """A lock: the public key of somebody who may open the file (PEM, X25519)."""

    public: Any = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipient:
        """Read a public key.

        Raises:
            KeyFileError: when the file is missing or holds none.
        """
        need_cryptography()
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        return cls(_pem(path, load_pem_public_key, X25519PublicKey, "public"))

    def wrap(self, secret: bytes) -> dict[str, Any]:
        """The data key for this recipient alone, from a key pair used once."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        once = X25519PrivateKey.generate()
        mine = once.public_key().public_bytes_raw()
        shared = _agree(once.exchange(self.public), mine, self.public.public_bytes_raw())
        return {"kind": "x25519", "once": _text(mine), **_seal(shared, secret)}


@frozen
class Identity:
    """A key: the private half of a recipient (PEM, X25519)."""

    private: Any = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Identity:
        """Read a private key.

        Raises:
            KeyFileError: when the file is missing or holds none.
        """
        need_cryptography()
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return cls(_pem(path, partial(load_pem_private_key, password=None), X25519PrivateKey, "private"))

    def unwrap(self, lock: dict[str, Any]) -> bytes | None:
        """The data key, or None when this lock is not for us."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        if lock["kind"] != "x25519":
            return None
        theirs = _bytes(lock["once"])
        shared = self.private.exchange(X25519PublicKey.from_public_bytes(theirs))
        return _open(_agree(shared, theirs, self.private.public_key().public_bytes_raw()), lock)


Lock = Passphrase | Recipient
Opener = Passphrase | Identity


def make_identity(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Make a key pair: the private key at ``path`` (readable by its owner alone), the public one at ``path.pub``.

    Raises:
        OutputError: when one of them exists or cannot be written.
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from privmed.files import check_writable, whole_file

    path = Path(path)
    public_path = path.with_name(path.name + ".pub")
    check_writable(public_path, force=False)
    check_writable(path, force=False)
    private = X25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    with whole_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    with whole_file(public_path) as temporary:
        public = private.public_key()
        temporary.write_bytes(public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path, public_path


def _pem(path: str | os.PathLike[str], load: Callable[[bytes], Any], kind: type, word: str) -> Any:
    """A key in PEM, if it is one of our kind."""
    try:
        key = load(read_bytes(path))
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path}: is no {word} key. Make one with privmed keygen.") from error
    if not isinstance(key, kind):
        raise KeyFileError(f"{path}: is a {word} key of another kind, expected X25519. Make one with privmed keygen.")
    return key


def _seal(key: bytes, secret: bytes) -> dict[str, str]:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce = os.urandom(12)
    return {"nonce": _text(nonce), "wrapped": _text(ChaCha20Poly1305(key).encrypt(nonce, secret, b"data key"))}


def _open(key: bytes, lock: dict[str, Any]) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(_bytes(lock["nonce"]), _bytes(lock["wrapped"]), b"data key")
    except InvalidTag:
        return None


def _agree(shared: bytes, once: bytes, theirs: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=once + theirs, info=INFO).derive(shared)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        KeyFileError: when it cannot be read.
    """
    try:
        return limits.read_bytes(path)
    except InputError as error:  # it is no file, or too large
        raise KeyFileError(str(error)) from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read ({error.strerror}).") from error


def need_cryptography() -> None:
    """Say what is missing.

    Raises:
        MissingDependencyError: when cryptography is not installed.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("keys need the package cryptography: pip install 'privmed[keys]'.") from error
