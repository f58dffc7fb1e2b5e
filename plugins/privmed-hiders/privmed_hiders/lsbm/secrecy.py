"""What keeps a file secret and whole: compression, keys, sealing, and the order of pixels. The primitives are those of ``cryptography``."""

from __future__ import annotations

import hashlib
import lzma
import struct

import numpy as np
from attrs import astuple, field, frozen

from privmed.errors import VerificationError
from privmed.interfaces.file_hider import Key

SALT = 16  # bytes
TAG = 16  # bytes that sealing adds
LAYOUT = struct.Struct("<BIQ32s")
HEAD = LAYOUT.size + TAG  # bytes
INFO = b"privmed lsbm 1\n"  # sets our keys apart from everybody else's
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}]  # also bounds what unpacking takes
ONCE = bytes(12)  # a nonce: each key seals one text


@frozen(kw_only=True)
class Head:
    """What has to be known before the file can be read."""

    code: int  # bits a block of the matrix embedding
    sealed: int  # bytes of the file, compressed and sealed
    length: int  # bytes of the file
    digest: bytes  # of the image, see Carrier.digest


@frozen
class Keys:
    """One key for each purpose, good for one stego."""

    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    order: bytes = field(repr=False)
    direction: bytes = field(repr=False)

    @classmethod
    def of(cls, key: Key, salt: bytes) -> Keys:
        """From what sender and receiver share, and the salt of a stego."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        made = HKDF(algorithm=SHA256(), length=4 * 32, salt=salt, info=INFO).derive(key.derive(salt))
        return cls(*(made[at : at + 32] for at in range(0, len(made), 32)))

    def seal_head(self, head: Head) -> bytes:
        """Encrypt and authenticate the head."""
        return _seal(self.head, LAYOUT.pack(*astuple(head)))

    def open_head(self, sealed: bytes) -> Head | None:
        """The head, or None when it is not one of this key."""
        plain = _open(self.head, sealed)
        return None if plain is None else Head(**dict(zip(Head.__slots__, LAYOUT.unpack(plain))))

    def seal_body(self, packed: bytes) -> bytes:
        """Encrypt and authenticate the file."""
        return _seal(self.body, packed)

    def open_body(self, sealed: bytes) -> bytes:
        """The file, still compressed.

        Raises:
            VerificationError: when it was altered.
        """
        plain = _open(self.body, sealed)
        if plain is None:
            raise VerificationError("stego: the key fits, but the file in it was altered.")
        return plain

    def permutation(self, count: int) -> np.ndarray:
        """The numbers below ``count`` in an order that nobody knows without the key, (count,) int64."""
        drawn = np.frombuffer(_stream(self.order, 8 * count), "<u8").astype(np.uint64)
        low = np.uint64(2 ** count.bit_length() - 1)
        drawn &= ~low
        drawn |= np.arange(count, dtype=np.uint64)  # makes them different, so that every way to sort gives the same
        drawn.sort()
        drawn &= low
        return drawn.astype(np.int64)

    def signs(self, count: int) -> np.ndarray:
        """Whether each of so many changes goes up, (count,) of 0 and 1."""
        return np.unpackbits(np.frombuffer(_stream(self.direction, -(-count // 8)), np.uint8))[:count]


def pack(data: bytes) -> bytes:
    """Compress."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS)


def unpack(packed: bytes, length: int) -> bytes:
    """Undo :func:`pack`, and never make more than ``length`` bytes.

    Raises:
        VerificationError: when that is not what comes out.
    """
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        data = reader.decompress(packed, length) if length else b""
    except lzma.LZMAError:
        data = None
    if data is None or len(data) != length:
        raise VerificationError("stego: the key fits, but the file in it is not whole; another program wrote it.")
    return data


def digest(pixels: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """SHA-256 of pixels and the shape they have."""
    whole = hashlib.sha256(struct.pack("<3Q", *shape))
    whole.update(np.ascontiguousarray(pixels))
    return whole.digest()


def bits_of(data: bytes) -> np.ndarray:
    """Bits, (8 n,) of 0 and 1."""
    return np.unpackbits(np.frombuffer(data, np.uint8))


def bytes_of(bits: np.ndarray) -> bytes:
    """Undo :func:`bits_of`."""
    return np.packbits(bits).tobytes()


def _seal(key: bytes, plain: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(ONCE, plain, INFO)


def _open(key: bytes, sealed: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(ONCE, sealed, INFO)
    except InvalidTag:
        return None


def _stream(key: bytes, count: int) -> bytes:
    """So many bytes that look random without the key."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(count))
