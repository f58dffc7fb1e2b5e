"""AsyWA: asymmetric wavelet attention between the features of four sub-bands (HideMIA, Eq. 4 to 6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS = ("ll", "lh", "hl", "hh")


def pairs(inner: bool, inter: bool, symmetric: bool) -> list[tuple[int, int]]:
    """Which band listens to which, as (receiver, source).

    LL listens to all, the high bands to each other. Only a symmetric layer lets a high band listen to LL.
    """
    return [
        (r, s)
        for r in range(len(BANDS))
        for s in range(len(BANDS))
        if (inner if r == s else inter) and (symmetric or r == 0 or s != 0)
    ]


class AsyWA(nn.Module):
    """Attention of four bands at one level, at half the side and half the channels; starts as the identity.

    Args:
        channels: of the features of each band.
        inner, inter: whether bands listen to themselves, to others.
        symmetric: whether high bands listen to LL too.
        kernel: ``"softmax"``, or ``"linear"`` for attention without one, as printed.
        query_from: ``"receiver"`` asks (usual), or ``"source"`` does (as printed).
    """

    def __init__(
        self,
        channels: int,
        *,
        inner: bool = True,
        inter: bool = True,
        symmetric: bool = False,
        kernel: str = "softmax",
        query_from: str = "receiver",
    ) -> None:
        super().__init__()
        self.pairs = pairs(inner, inter, symmetric)
        self.kernel, self.query_from = kernel, query_from
        self.width = channels // 2
        self.heads = next(n for n in range(max(1, self.width // 32), 0, -1) if self.width % n == 0)
        self.reduce = nn.ModuleList(nn.Conv2d(channels, self.width, 1) for _ in BANDS)
        self.query, self.key, self.value, self.out = (
            nn.ModuleList(nn.Linear(self.width, self.width) for _ in BANDS) for _ in range(4)
        )
        self.expand = nn.ModuleList(nn.Conv2d(self.width, channels, 1) for _ in BANDS)
        for layer in self.expand:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map four tensors (B, C, H, W), in the order of BANDS, to four of the same shape."""
        size = features[0].shape[-2:]
        small = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        reduced = [layer(F.adaptive_avg_pool2d(x, small)) for layer, x in zip(self.reduce, features)]
        tokens = [F.layer_norm(x.flatten(2).mT, (self.width,)) for x in reduced]
        heard = self.listen(tokens)
        return [
            x if h is None else x + self.spread(expand, out(h), small, size)
            for x, h, out, expand in zip(features, heard, self.out, self.expand)
        ]

    def listen(self, tokens: list[Tensor]) -> list[Tensor | None]:
        """Sum of what each band hears, (B, N, width) or None for a band that hears nothing; all pairs in one call."""
        receiver, source = zip(*self.pairs)
        asking, telling = (receiver, source) if self.query_from == "receiver" else (source, receiver)
        q = self.stack(self.query, tokens, asking)
        k, v = (self.stack(p, tokens, telling) for p in (self.key, self.value))
        if self.kernel == "softmax":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = q @ (k.mT @ v) / math.sqrt(q.shape[-2])
        y = y.mT.flatten(1, 2).mT.unflatten(0, (len(self.pairs), -1))
        out: list[Tensor | None] = [None] * len(BANDS)
        for n, r in enumerate(receiver):
            out[r] = y[n] if out[r] is None else out[r] + y[n]
        return out

    def stack(self, projections: nn.ModuleList, tokens: list[Tensor], order: tuple[int, ...]) -> Tensor:
        """Project each band once and line the bands up, (pairs * B, heads, N, width / heads)."""
        projected = {b: projections[b](tokens[b]).unflatten(2, (self.heads, -1)).transpose(1, 2) for b in set(order)}
        return torch.cat([projected[b] for b in order])

    @staticmethod
    def spread(expand: nn.Module, tokens: Tensor, small: tuple[int, int], size: torch.Size) -> Tensor:
        """Tokens back to a feature map of the full size."""
        return expand(F.interpolate(tokens.mT.unflatten(2, small), size, mode="bilinear", align_corners=False))
