"""The key of a watermarked data set: one encrypted, authenticated file that grows image by image.

Layout: a line that names the format, a JSON header with its checksum, and frames. The header holds the *data key* once for each
:mod:`lock <privmed.locks>`. Each frame is encrypted with the data key
(ChaCha20-Poly1305, RFC 8439); header, place and whether it is the last one are authenticated with it. So frames cannot be
changed, dropped, swapped or cut off unnoticed, and while the file grows nothing readable touches the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from privmed.errors import KeyFileError, OutputError
from privmed.files import whole_file, writing
from privmed.locks import INFO as MAGIC
from privmed.locks import Lock, Opener, need_cryptography, read_bytes

LARGEST_HEADER = 2**20
LARGEST_FRAME = 2**30


class KeyWriter:
    """A key file that grows; ``PATH.part`` until :meth:`close`.

    Args:
        path: the file to be.
        locks: who may open it; at least one.

    Raises:
        OutputError: when it exists or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], locks: Sequence[Lock]) -> None:
        need_cryptography()
        self.path = Path(path)
        self.part = part_of(self.path)
        if not locks:
            raise KeyFileError(f"key {self.path}: nobody could open it. Give a passphrase or a recipient.")
        self._secret = os.urandom(32)
        header = json.dumps({"locks": [lock.wrap(self._secret) for lock in locks]}).encode()
        self._head = hashlib.sha256(header).digest()
        self._count = 0
        with whole_file(self.part) as temporary:
            temporary.write_bytes(MAGIC + struct.pack("<I", len(header)) + header + self._head)

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
        with writing(writer.part), writer.part.open("r+b") as file:
            file.truncate(end)
        return writer, entries

    @classmethod
    def reopen(cls, path: str | os.PathLike[str], openers: Sequence[Opener]) -> tuple[KeyWriter, list[dict[str, Any]]]:
        """Go on with a key that is complete, as :meth:`resume`; it stays as it is until :meth:`close` replaces it.

        Raises:
            KeyFileError: when none of the openers opens it, or it was tampered with.
        """
        path = Path(path)
        secret, head, start, data = _unlock(path, openers)
        ends = [start, *(stop for _, last, stop in _frames(data, start, secret, head, path, torn=False) if not last)]
        with whole_file(part_of(path)) as temporary:
            temporary.write_bytes(data[: ends[-1]])
        return cls.resume(path, openers)

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry of plain data and bytes; it is on disk, encrypted, when this returns."""
        self._write(entry, last=False)

    def close(self) -> Path:
        """Say that this is all, and give the file its name."""
        self._write({}, last=True)
        with writing(self.path):
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
        KeyFileError: when the file is missing or no key file, none of the openers opens it, or it is incomplete, damaged or tampered with.
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
    need_cryptography()
    data = read_bytes(path)
    if not data.startswith(MAGIC):
        raise KeyFileError(f"key {path}: is no privmed key file.")
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
