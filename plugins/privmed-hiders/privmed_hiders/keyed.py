"""LightIH under a key: the same four blocks, whose weights are public, and a stego that nobody reads without the key.

The networks are LightIH's (X. Lin et al., "HideMIA", ACM MM 2024). What is done about a key is ours: a keyed signed permutation, as in the
classical scrambling of a carrier, around the invertible blocks.

Idea: Photographs hold little colour in their detail bands, and most of what LightIH changes lies there. So here it may write nowhere else,
and before the blocks see these six planes, a key and a salt put their values in another order and turn the signs of half of them. The
blocks only ever know the scrambled photograph; afterwards the order is restored, and what they wrote is scattered all over the image. To
run them backwards one needs the same order. Low band and grey details stay those of the cover, so without the key the stego shows what the
cover shows.

Formula:
    stego = B^T (B c + P^T W(P B c, s)),  P = signed permutation of the carrier under key and salt, identity elsewhere
    B = Haar bands in the coordinates LL, grey of details, colour of details;  W = what LightIH's blocks add, on the carrier alone

Weak at: analysis on a server, which sees noise as everybody else does without the key; any re-encoding of the stego (JPEG, scaling, blur);
detection of the fact that something is hidden, which no key prevents, and changes lie in smooth areas too. It is no authenticated
encryption: the set of changed values, and with it the secret's contrast, is not hidden, and an altered stego is not told from the right
one. What another key reads is on ultrasound as unlike the scan as what it reads in bare photographs, and on skin images not quite. The key
costs 1.6 to 4.5 dB of what comes back, beside LightIH. Where a file has to arrive bit by bit, lsbm is the better choice.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from privmed import Hider, hookimpl
from privmed.errors import KeyFileError
from privmed.locks import need_cryptography
from privmed.settings import at_least, positive, setting
from privmed.shared_key import SharedKey
from privmed_hiders.hinet import CouplingBlock, InvertibleStack, Precision, bands, image
from privmed_hiders.lsbm.secrecy import SALT, Keys, bits_of, bytes_of

COLOURS, DETAILS = 3, 3
CARRIER = DETAILS * (COLOURS - 1)  # planes that are written to
PURPOSE = b"lightih-keyed 1\n"  # sets the orders apart from those that lsbm makes of the same key


def coordinates() -> Tensor:
    """An orthogonal matrix (12, 12) of the stacked Haar bands: LL, the grey of the three details, then their colour, the carrier."""
    grey = torch.full((1, COLOURS), COLOURS**-0.5)
    colour = torch.linalg.svd(grey)[2][1:]
    low = torch.eye(COLOURS, COLOURS * (DETAILS + 1))
    planes = [torch.block_diag(*[part] * DETAILS) for part in (grey, colour)]
    return torch.cat([low, *(F.pad(p, (COLOURS, 0)) for p in planes)])


class KeyedBlock(CouplingBlock):
    """A coupling block that adds to the cover's branch in its carrier alone."""

    def __init__(self, width: int, alpha: float) -> None:
        super().__init__(width, alpha)
        carrier = coordinates()[-CARRIER:]
        self.register_buffer("carrier", carrier.T @ carrier, persistent=False)  # projects on it

    def added(self, secret: Tensor, precision: Precision) -> Tensor:
        return F.conv2d(super().added(secret, precision), self.carrier[:, :, None, None])


class Order:
    """A keyed order, with signs, of the values of each item's carrier.

    The last row and column of each plane are put in order among themselves: an image of odd size loses half of what they stand for, and
    what is wrong about them shall not be scattered all over the scan.

    Args:
        key: shared by sender and receiver.
        salts: one of 16 bytes an item.
        size: of the bands, (H, W).
        device: of the carriers.
    """

    def __init__(self, key: SharedKey, salts: list[bytes], size: tuple[int, int], device: torch.device) -> None:
        places = np.arange(CARRIER * size[0] * size[1]).reshape(CARRIER, *size)
        inner = places[:, :-1, :-1].ravel()
        groups = (inner, np.setdiff1d(places, inner))
        orders, signs = [], []
        for salt in salts:
            order, turned = np.empty(places.size, np.int64), np.empty(places.size, np.float32)
            for name, group in zip((b"inner", b"rim"), groups):
                keys = Keys.of(key, PURPOSE + salt + name)
                order[group], turned[group] = group[keys.permutation(len(group))], keys.signs(len(group)) * 2.0 - 1
            orders.append(order)
            signs.append(turned)
        self.order, self.signs = (torch.from_numpy(np.stack(x)).to(device) for x in (orders, signs))
        self.basis = coordinates().to(device)

    def scramble(self, stack: Tensor) -> Tensor:
        """Bands (B, 12, H, W) whose carrier is in the keyed order."""
        return self._changed(stack, lambda x: x.gather(1, self.order) * self.signs)

    def restore(self, stack: Tensor) -> Tensor:
        """Undo :meth:`scramble`."""
        return self._changed(stack, lambda x: torch.zeros_like(x).scatter(1, self.order, x * self.signs))

    def _changed(self, stack: Tensor, change) -> Tensor:
        x = F.conv2d(stack, self.basis[:, :, None, None])
        rest, carrier = x[:, :-CARRIER], x[:, -CARRIER:]
        carrier = change(carrier.flatten(1)).view_as(carrier)
        x = torch.cat([rest, carrier], 1).contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self.basis.T[:, :, None, None])


def salt_of(secret: Tensor, cover: Tensor, key: SharedKey) -> bytes:
    """16 bytes that only one pair of images and key give, so that no order is ever used for two; images (3, H, W)."""
    whole = hashlib.sha256(PURPOSE + key.derive(b"salt"))
    for x in (secret, cover):
        whole.update(repr(tuple(x.shape)).encode())
        whole.update(x.detach().float().cpu().contiguous().numpy())
    return whole.digest()[:SALT]


def salt_pixels(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels whose first channel holds the bits of the salt, spread evenly.

    Last row and column are left out: they may be padding, and not in the file.
    """
    rows, columns = height - 1, width - 1
    return np.divmod(np.arange(8 * SALT) * (rows * columns) // (8 * SALT), columns)


def write_salts(stego: Tensor, salts: list[bytes]) -> Tensor:
    """Put the salts into the last bits of some values of a stego (B, 3, H, W), which then lie on the 256 levels of a file."""
    at = salt_pixels(*stego.shape[-2:])
    bits = torch.from_numpy(np.stack([bits_of(s) for s in salts])).to(stego.device)
    exact = stego[:, 0, at[0], at[1]].detach().clamp(0, 1) * 255
    level = exact.round()
    wrong = level.remainder(2) != bits
    level = torch.where(wrong, level + torch.where((exact > level) & (level < 255) | (level == 0), 1.0, -1.0), level)
    stego = stego.clone()
    stego[:, 0, at[0], at[1]] = level / 255
    return stego


def read_salts(stego: Tensor) -> list[bytes]:
    """The salts in the last bits of a stego."""
    at = salt_pixels(*stego.shape[-2:])
    levels = (stego[:, 0, at[0], at[1]].detach().clamp(0, 1) * 255).round()
    return [bytes_of(row) for row in levels.remainder(2).byte().cpu().numpy()]


@frozen(kw_only=True)
class KeyedLightIHConfig(Hider.Config):
    """Settings of :class:`KeyedLightIH`: LightIH's."""

    blocks: int = setting(4, "invertible blocks", at_least(1))
    alpha: float = setting(2.0, "bound of the log-scale of a block (`clamp` in HiNet's code)", positive())


class KeyedLightIH(Hider):
    """Four invertible blocks, 1,012,560 parameters, between a keyed scrambling of the carrier and its inverse.

    Both sides call :meth:`use_key` with the same key first. Offers the ability ``use_key``.
    """

    name = "lightih-keyed"
    Config = KeyedLightIHConfig
    default_weights = "general"
    tile = 1024

    def __init__(self, config: KeyedLightIHConfig | None = None) -> None:
        super().__init__(config)
        self.blocks = InvertibleStack(self.config.blocks, self.config.alpha, block=KeyedBlock)
        self._key: SharedKey | None = None
        self.to(memory_format=torch.channels_last)

    def use_key(self, key: SharedKey) -> None:
        """Hide and recover with this key from now on; it becomes no part of the weights.

        Raises:
            KeyFileError: for anything but a shared key.
            MissingDependencyError: without the package cryptography.
        """
        need_cryptography()
        if not isinstance(key, SharedKey):
            raise KeyFileError(f"key: expected a privmed.shared_key.SharedKey, got {type(key).__name__}.")
        self._key = key

    def _order(self, salts: list[bytes], like: Tensor) -> Order:
        return Order(self._needed(), salts, tuple(like.shape[-2:]), like.device)

    def _needed(self) -> SharedKey:
        if self._key is None:
            raise KeyFileError(
                f"{self.name}: has no key. Give one with use_key(SharedKey.read(FILE)), on the command line with --key FILE "
                "(privmed keygen --shared makes it)."
            )
        return self._key

    def _fixed(self, stego: Tensor) -> Tensor:
        at = salt_pixels(*(n + n % 2 for n in stego.shape[-2:]))
        fixed = torch.zeros_like(stego, dtype=torch.bool)
        fixed[:, 0, at[0], at[1]] = True
        return fixed

    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        salts = [salt_of(s, c, self._needed()) for s, c in zip(secret, cover)]
        plain = bands(cover)
        order = self._order(salts, plain)
        stego, _lost = self.blocks.run(order.scramble(plain), bands(secret), range(len(self.blocks)), self.subnets)
        return write_salts(image(order.restore(stego)), salts)

    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        plain = bands(stego)
        state = self._order(read_salts(stego), plain).scramble(plain)
        backwards = range(len(self.blocks) - 1, -1, -1)
        _cover, secret = self.blocks.run(state, torch.zeros_like(state), backwards, self.subnets)
        return image(secret)


@hookimpl
def privmed_register(register) -> None:
    register(KeyedLightIH)
