"""The key of a watermarked data set: one encrypted, authenticated file that grows image by image.

Layout: a line that names the format, a JSON header with its checksum, and frames. The header holds the *data key* once for each lock,
wrapped: under a passphrase (scrypt, RFC 7914) or for a recipient (X25519 with HKDF-SHA256). Each frame is encrypted with the data key
(ChaCha20-Poly1305, RFC 8439); header, place and whether it is the last one are authenticated with it. So frames cannot be
changed, dropped, swapped or cut off unnoticed, and while the file grows nothing readable touches the disk.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from privmed.errors import InputError, KeyFileError, MissingDependencyError, OutputError

MAGIC = b"privmed key 1\n"
SCRYPT = {"n": 2**16, "r": 8, "p": 1}  # 64 MiB
LARGEST_HEADER = 2**20
LARGEST_FRAME = 2**30


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
            InputError: when the file is missing or holds none.
        """
        _cryptography()
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        try:
            public = serialization.load_pem_public_key(_read(path))
        except ValueError as error:
            raise InputError(f"{path}: is no public key. Make one with privmed keygen.") from error
        if not isinstance(public, X25519PublicKey):
            raise InputError(f"{path}: is a public key of another kind, expected X25519. Make one with privmed keygen.")
        return cls(public)

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
            InputError: when the file is missing or holds none.
        """
        _cryptography()
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        try:
            private = serialization.load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: is no private key. Make one with privmed keygen.") from error
        if not isinstance(private, X25519PrivateKey):
            raise InputError(
                f"{path}: is a private key of another kind, expected X25519. Make one with privmed keygen."
            )
        return cls(private)

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


class KeyWriter:
    """A key file that grows; ``PATH.part`` until :meth:`close`.

    Args:
        path: the file to be.
        locks: who may open it; at least one.

    Raises:
        OutputError: when it exists or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], locks: Sequence[Lock]) -> None:
        _cryptography()
        self.path = Path(path)
        self.part = part_of(self.path)
        if not locks:
            raise InputError(f"key {self.path}: nobody could open it. Give a passphrase or a recipient.")
        self._secret = os.urandom(32)
        header = json.dumps({"locks": [lock.wrap(self._secret) for lock in locks]}).encode()
        self._head = hashlib.sha256(header).digest()
        self._count = 0
        try:
            with self.part.open("wb") as file:
                file.write(MAGIC + struct.pack("<I", len(header)) + header + self._head)
        except OSError as error:
            self.part.unlink(missing_ok=True)
            raise OutputError(f"key {self.path}: cannot be written ({error.strerror}).") from error

    @property
    def count(self) -> int:
        """How many entries it has."""
        return self._count

    @classmethod
    def resume(cls, path: str | os.PathLike[str], openers: Sequence[Opener]) -> tuple[KeyWriter, list[dict[str, Any]]]:
        """Go on with what an interrupted run left; returns the writer and the entries that are whole.

        Raises:
            KeyFileError: when none of the openers opens it, or it was tampered with.
        """
        writer = cls.__new__(cls)
        writer.path = Path(path)
        writer.part = part_of(writer.path)
        writer._secret, writer._head, start, data = _unlock(writer.part, openers)
        entries, end = [], start
        for entry, last, stop in _frames(data, start, writer._secret, writer._head, writer.part, torn=True):
            if last:
                raise KeyFileError(f"key {writer.part}: is complete already.")
            entries.append(entry)
            end = stop
        writer._count = len(entries)
        with writer.part.open("r+b") as file:
            file.truncate(end)
        return writer, entries

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry of plain data and bytes; it is on disk, encrypted, when this returns."""
        self._write(entry, last=False)

    def close(self) -> Path:
        """Say that this is all, and give the file its name."""
        self._write({}, last=True)
        os.replace(self.part, self.path)
        return self.path

    def _write(self, entry: dict[str, Any], *, last: bool) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = os.urandom(12)
        sealed = ChaCha20Poly1305(self._secret).encrypt(nonce, pack(entry), _label(self._head, self._count, last))
        before = self.part.stat().st_size
        try:
            with self.part.open("ab") as file:
                file.write(struct.pack("<I?", len(sealed), last) + nonce + sealed)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with self.part.open("r+b") as file:
                file.truncate(before)
            raise OutputError(f"key {self.path}: cannot be written ({error.strerror}).") from error
        self._count += 1


def read_key(path: str | os.PathLike[str], openers: Sequence[Opener]) -> list[dict[str, Any]]:
    """Read all entries of a key file.

    Raises:
        InputError: when the file is missing or no key file.
        KeyFileError: when none of the openers opens it, or it is incomplete, damaged or tampered with.
    """
    path = Path(path)
    secret, head, start, data = _unlock(path, openers)
    entries, complete = [], False
    for entry, last, _ in _frames(data, start, secret, head, path, torn=False):
        complete = last
        if not last:
            entries.append(entry)
    if not complete:
        raise KeyFileError(f"key {path}: its end is missing, so it was cut off, or its run was interrupted.")
    return entries


def part_of(path: Path) -> Path:
    """Where a key lies while it grows."""
    return path.with_name(path.name + ".part")


def make_identity(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Make a key pair: the private key at ``path`` (readable by its owner alone), the public one at ``path.pub``.

    Raises:
        OutputError: when one of them exists or cannot be written.
    """
    _cryptography()
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


def pack(entry: dict[str, Any]) -> bytes:
    """Plain data with bytes in it as bytes: JSON, and the bytes behind it."""
    blobs: list[bytes] = []

    def take(value: Any) -> Any:
        if isinstance(value, bytes):
            blobs.append(value)
            return {"bytes": len(value)}
        if isinstance(value, dict):
            return {k: take(v) for k, v in value.items()}
        return [take(v) for v in value] if isinstance(value, (list, tuple)) else value

    text = json.dumps(take(entry)).encode()
    return struct.pack("<I", len(text)) + text + b"".join(blobs)


def unpack(data: bytes) -> dict[str, Any]:
    """The inverse of :func:`pack`."""
    (length,) = struct.unpack_from("<I", data)
    at = 4 + length

    def give(value: Any) -> Any:
        nonlocal at
        if isinstance(value, dict) and value.keys() == {"bytes"}:
            at += value["bytes"]
            return data[at - value["bytes"] : at]
        if isinstance(value, dict):
            return {k: give(v) for k, v in value.items()}
        return [give(v) for v in value] if isinstance(value, list) else value

    return give(json.loads(data[4:at]))


# --- inside -----------------------------------------------------------------------------------------------------------


def _unlock(path: Path, openers: Sequence[Opener]) -> tuple[bytes, bytes, int, bytes]:
    """Data key, digest of the header, where the frames begin, and the file."""
    _cryptography()
    data = _read(path)
    if not data.startswith(MAGIC):
        raise InputError(f"key {path}: is no privmed key file.")
    start = len(MAGIC) + 4
    length = struct.unpack_from("<I", data, len(MAGIC))[0] if len(data) >= start else LARGEST_HEADER
    header, head = data[start : start + length], data[start + length : start + length + 32]
    if length >= LARGEST_HEADER or len(head) < 32 or hashlib.sha256(header).digest() != head:
        raise KeyFileError(f"key {path}: its header is damaged, or was tampered with.")
    try:
        locks = json.loads(header)["locks"]
        for lock in locks:
            for opener in openers:
                if (secret := opener.unwrap(lock)) is not None:
                    return secret, head, start + length + 32, data
    except (KeyError, TypeError, ValueError) as error:
        raise KeyFileError(f"key {path}: its header is damaged, or was tampered with.") from error
    kinds = sorted({str(lock.get("kind")) for lock in locks})
    ways = {"passphrase": "a passphrase", "x25519": "the private key of a recipient"}
    raise KeyFileError(
        f"key {path}: does not open with what was given. It takes {' or '.join(ways.get(k, k) for k in kinds)}."
    )


def _frames(
    data: bytes, at: int, secret: bytes, head: bytes, path: Path, *, torn: bool
) -> Iterator[tuple[dict[str, Any], bool, int]]:
    """Entries, whether it is the last, and where its frame ends; ``torn`` leaves a cut last frame unread."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    cipher, count, last = ChaCha20Poly1305(secret), 0, False
    while at < len(data):
        body = at + 5 + 12
        length, last_here = struct.unpack_from("<I?", data, at) if body <= len(data) else (LARGEST_FRAME, False)
        if last or body + length > len(data):
            if torn and not last:
                return
            raise KeyFileError(f"key {path}: is damaged or cut off after {count} entries.")
        try:
            plain = cipher.decrypt(data[at + 5 : body], data[body : body + length], _label(head, count, last_here))
        except InvalidTag as error:
            raise KeyFileError(f"key {path}: entry {count} was tampered with, or is damaged.") from error
        last, at, count = last_here, body + length, count + 1
        yield unpack(plain), last, at


def _label(head: bytes, count: int, last: bool) -> bytes:
    return head + struct.pack("<Q?", count, last)


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

    return HKDF(algorithm=SHA256(), length=32, salt=once + theirs, info=MAGIC).derive(shared)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("keys need the package cryptography: pip install 'privmed[keys]'.") from error
