"""LSBM: keyed LSB matching. It carries any file, encrypted and authenticated, in the least bits of a photograph of any size.

T. Sharp, "An Implementation of Key-Based Digital Signal Steganography", Information Hiding 2001; the rest is put together here.

Idea: The classical counterpart of deep hiding, for sending where nothing has to be analysed. The file is compressed and sealed under a key,
and its bits become the last bits of pixels that only the key leads to. A value whose last bit is wrong goes up or down by one. Matrix
embedding changes few of them, and rather those in texture.

Formula:
    m = seal_key(compress(file))
    number of block j = xor of the indices of its odd columns = bits p j to p j + p - 1 of m
    stego = cover + e,  e in {-1, 0, 1},  as few and as cheap e as make it so

Weak at: being found, the easier the fuller the photograph (measured at 0.2 bits a pixel alone, which our detectors hardly find); any
re-encoding of the stego; analysis, since a server sees random bits.

In more detail:

1. The file is compressed (LZMA) and sealed (ChaCha20-Poly1305) under keys made of the passphrase or shared key and a salt drawn for this
   one stego; :mod:`.secrecy`.
2. The salt goes into the last bits of pixels that lie evenly over the image. All other pixels are put in an order that the key gives.
3. A head of fixed size in the first of them, sealed too, says how long the file is, how it is coded, and what digest the image has
   without the bits of salt and head. It replaces last bits, so that this digest stands before it is written.
4. The file goes into all the rest by matrix embedding (:mod:`.coding`), changing as few values as it can and those in texture
   (:mod:`.texture`), each by +1 or -1. To read it back nobody needs to know what was changed.

So whoever has the key knows that each pixel is as it was sent, and whoever has not sees random bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from attrs import define, field

from privmed import FileHider, hookimpl
from privmed.errors import InputError, KeyFileError, VerificationError
from privmed.interfaces.file_hider import Key
from privmed.limits import limits, raise_it
from privmed_hiders.lsbm.coding import Code, cheapest
from privmed_hiders.lsbm.secrecy import HEAD, SALT, TAG, Head, Keys, bits_of, bytes_of, digest, pack, unpack
from privmed_hiders.lsbm.texture import costs

HEAD_BITS, SALT_BITS = 8 * HEAD, 8 * SALT


class LSBM(FileHider):
    """Keyed LSB matching: a whole file in a photograph, encrypted, in few and textured pixels."""

    name = "lsbm"

    def _hide_file(self, data: bytes, cover: np.ndarray, key: Key, entropy: bytes) -> np.ndarray:
        packed = pack(data)
        check_room(len(packed), cover)
        salt = entropy[:SALT]
        keys = Keys.of(key, salt)
        sealed = keys.seal_body(packed)
        stego = Carrier.of(cover.copy(), keys)
        stego.put_salt(salt)
        code = stego.put_body(bits_of(sealed), lambda: costs(cover))
        head = Head(code=code.bits, sealed=len(sealed), length=len(data), digest=stego.digest())
        stego.put_head(bits_of(keys.seal_head(head)))
        return stego.pixels

    def _recover_file(self, stego: np.ndarray, key: Key) -> bytes:
        keys = Keys.of(key, bytes_of(read_salt(stego)))
        carrier = Carrier.of(stego, keys)
        head = keys.open_head(bytes_of(carrier.head()))
        if head is None:
            raise KeyFileError(
                "stego: nothing in it opens with this key: it is another key, or nothing is hidden here, or the first bits of it were "
                "altered; without the right key these look the same by design."
            )
        if head.digest != carrier.digest():
            raise VerificationError(
                "stego: the key fits, but the image was altered after the file was hidden, so nothing of it is given out. "
                "Use the PNG that was sent, unchanged."
            )
        if head.length > limits().file_bytes:
            raise InputError(f"stego: the file in it has {head.length:,} bytes, {raise_it('file_bytes')}")
        return unpack(keys.open_body(bytes_of(carrier.body(head.code, 8 * head.sealed))), head.length)

    def _capacity(self, cover: np.ndarray) -> int:
        height, width, channels = cover.shape
        return (channels * (height * width - SALT_BITS) - HEAD_BITS) // 8 - TAG

    def _size_of(self, data: bytes) -> int:
        return len(pack(data))


@define
class Carrier:
    """The pixels of an image by what they carry; those of salt and head are changed in their last bit alone.

    Attributes:
        pixels: (H, W, C) uint8.
        flat: the same memory, (H * W, C).
        order: which pixel comes how many-th, all but those of the salt; channel by channel, their values carry head and file.
        keys: where the directions of changes come from.
    """

    pixels: np.ndarray
    flat: np.ndarray = field(repr=False)
    order: np.ndarray = field(repr=False)
    keys: Keys

    @classmethod
    def of(cls, pixels: np.ndarray, keys: Keys) -> Carrier:
        """Put the pixels in the order of a key."""
        flat = pixels.reshape(-1, pixels.shape[2])
        rest = np.delete(np.arange(len(flat)), salt_pixels(len(flat)))
        return cls(pixels, flat, rest[keys.permutation(len(rest))], keys)

    def head(self) -> np.ndarray:
        """The bits of the head."""
        return self.flat[self.order[:HEAD_BITS], 0] & 1

    def body(self, code: int, count: int) -> np.ndarray:
        """So many bits of the file, in a code of that many bits a block."""
        values = self._values(self.flat)
        return Code.of(code, count, len(values)).read(values & 1, count)

    def digest(self) -> bytes:
        """Of all there is but the bits of salt and head."""
        bare = self.flat.copy()
        bare[salt_pixels(len(bare)), 0] &= 0xFE
        bare[self.order[:HEAD_BITS], 0] &= 0xFE
        return digest(bare, self.pixels.shape)

    def put_salt(self, salt: bytes) -> None:
        """Write the salt."""
        replace_last_bits(self.flat, salt_pixels(len(self.flat)), bits_of(salt))

    def put_head(self, bits: np.ndarray) -> None:
        """Write the head; nothing may change after it."""
        replace_last_bits(self.flat, self.order[:HEAD_BITS], bits)

    def put_body(self, bits: np.ndarray, price: Callable[[], np.ndarray]) -> Code:
        """Write the file where that costs least; returns the code that was used."""
        values = self._values(self.flat)
        prices = self._values(price().reshape(self.flat.shape))
        code, changes = cheapest(bits, values & 1, prices)
        where = changes + HEAD_BITS  # places in the order, channel after channel
        pixel, channel = self.order[where % len(self.order)], where // len(self.order)
        self.flat[pixel, channel] = matched(values[changes], self.keys.signs(len(changes)))
        return code

    def _values(self, flat: np.ndarray) -> np.ndarray:
        """What the file lies in, in order: the first channel of all pixels, the second, the third, without the head."""
        return np.concatenate([flat[self.order, channel] for channel in range(flat.shape[1])])[HEAD_BITS:]


def matched(values: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Values that differ by one from these 8-bit values: up where it says so, but never out of range."""
    up = (up.astype(bool) | (values == 0)) & (values != 255)
    return np.where(up, values + 1, values - 1).astype(np.uint8)


def salt_pixels(count: int) -> np.ndarray:
    """Which of so many pixels hold the salt, in their first channel: everybody knows, since it comes before the key."""
    return np.arange(SALT_BITS) * count // SALT_BITS


def read_salt(stego: np.ndarray) -> np.ndarray:
    """The bits of the salt."""
    flat = stego.reshape(-1, stego.shape[2])
    return flat[salt_pixels(len(flat)), 0] & 1


def replace_last_bits(flat: np.ndarray, pixels: np.ndarray, bits: np.ndarray) -> None:
    """Write bits into the first channel of these pixels."""
    flat[pixels, 0] = flat[pixels, 0] & 0xFE | bits


def check_room(packed: int, cover: np.ndarray) -> None:
    """Refuse a photograph that is too small, and say which would do.

    Raises:
        InputError: when so many bytes do not fit.
    """
    height, width, channels = cover.shape
    needed = -(-(8 * (packed + TAG) + HEAD_BITS) // channels) + SALT_BITS
    if height * width >= needed:
        return
    tall = max(32, math.ceil(math.sqrt(needed * height / width)))
    wide = max(32, -(-needed // tall))
    raise InputError(
        f"cover: {width} x {height} pixels {'in grey' if channels == 1 else 'in colour'} are too few for {packed:,} bytes (the file, "
        f"compressed). Take a photograph of at least {needed:,} pixels, such as {wide} x {tall}; the larger, the fewer of them change."
    )


@hookimpl
def privmed_register(register):
    register(LSBM)
