"""Matrix embedding: write bits into last bits by changing few of them, and those that cost least.

Hamming codes as in A. Westfeld, "F5 - A Steganographic Algorithm", Information Hiding 2001, with columns of several values: a block of
(2^p - 1) columns holds p bits, the exclusive or of the numbers of its odd columns. To change it by s, change column s, or two columns
a and b with a xor b = s; to change a column, change any one of its values. The cheapest way is taken. Reading needs no costs.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen

LARGEST = 6  # bits a block; longer blocks save little more
LOOK = 4096  # blocks by which codes are compared


@frozen
class Code:
    """How values are cut into blocks.

    Attributes:
        bits: p, of a block.
        depth: values of a column.
        blocks: how many there are.
    """

    bits: int
    depth: int
    blocks: int

    @classmethod
    def of(cls, bits: int, message: int, values: int) -> Code:
        """The code that spreads so many bits over so many values; its depth is 0 when they are too few."""
        blocks = -(-message // bits)
        return cls(bits, values // (blocks * (2**bits - 1)), blocks)

    def read(self, last: np.ndarray, count: int) -> np.ndarray:
        """The first ``count`` bits that last bits stand for."""
        return (self._numbers(last)[:, None] >> np.arange(self.bits) & 1).astype(np.uint8).ravel()[:count]

    def changes(self, message: np.ndarray, last: np.ndarray, prices: np.ndarray, limit: int | None = None):
        """Which values have to change so that they stand for a message, and what that costs; of the first blocks only, if limited."""
        padded = np.zeros(self.bits * self.blocks, np.uint8)
        padded[: len(message)] = message
        wanted = (padded.reshape(-1, self.bits) << np.arange(self.bits)).sum(1)[:limit]
        prices = self._cut(prices)[..., :limit]
        step = wanted ^ self._numbers(last, limit)
        first, price = self._columns(step, prices.min(0))
        block, chosen = [], []
        for column in (first, first ^ step):
            (at,) = np.nonzero(column * (step > 0))
            block, chosen = [*block, at], [*chosen, column[at] - 1]
        block, column = np.concatenate(block), np.concatenate(chosen)
        value = prices[:, column, block].argmin(0)
        return (value * (2**self.bits - 1) + column) * self.blocks + block, float(price.sum())

    def _columns(self, step: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first column to change in each block (0 for none, the other is its exclusive or with the step), and the price."""
        prices = np.concatenate([np.zeros_like(prices[:1]), prices])
        here = np.arange(len(step))
        best, least = np.zeros_like(step), np.where(step > 0, prices[step, here], 0)
        for first in range(1, 2**self.bits):
            both = prices[first] + prices[first ^ step, here]
            better = (both < least) & (step > 0)
            best, least = np.where(better, first, best), np.where(better, both, least)
        return best, least

    def _numbers(self, last: np.ndarray, limit: int | None = None) -> np.ndarray:
        """What each block stands for."""
        odd = np.bitwise_xor.reduce(self._cut(last)[..., :limit], axis=0)
        numbers = np.zeros(odd.shape[1], np.int64)
        for column, bits in enumerate(odd, 1):
            numbers ^= column * bits.astype(np.int64)
        return numbers

    def _cut(self, values: np.ndarray) -> np.ndarray:
        """Values by place in a column, column and block; what is left over carries nothing."""
        columns = 2**self.bits - 1
        return values[: self.depth * columns * self.blocks].reshape(self.depth, columns, self.blocks)


def cheapest(message: np.ndarray, last: np.ndarray, prices: np.ndarray) -> tuple[Code, np.ndarray]:
    """The code that writes a message at the least cost, as far as its first blocks tell, and which values have to change."""
    codes = [Code.of(bits, len(message), len(last)) for bits in range(1, LARGEST + 1)]

    def price(code: Code) -> float:
        looked = min(LOOK, code.blocks)
        return code.changes(message, last, prices, looked)[1] * code.blocks / looked

    code = min((code for code in codes if code.depth), key=price)
    return code, code.changes(message, last, prices)[0]
