"""MoDC: a mixture of difference convolutions, merged into one dynamic convolution (HideMIA, Eq. 2 and 3).

A difference convolution subtracts from every tap the value of a reference pixel: the centre (D1), the tap's foot on the horizontal (D2)
or vertical (D3) line through it, or on one of the diagonals (D4, D5). The reference does not depend on the tap within a class, so D_i is an
ordinary convolution whose kernel is the same nine numbers, summed into fewer places: ``T_i K``. The mixture is linear in K as well and
therefore *one* convolution with a kernel of its own for every image.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def reference(i: int, dx: int, dy: int, reach: int = 1) -> tuple[int, int]:
    """Offset of the pixel that D_i compares tap (dx, dy) with; D_0 is the vanilla convolution, a tap stands for itself.

    The paper prints (dx + dy, dx + dy) for a diagonal, which leaves the 3x3 window and does not map the diagonal on itself. Clipped
    to a ``reach`` of 1 it is the tap's foot on the diagonal; a reach of 2 takes it literally.
    """
    s, d = (max(-reach, min(reach, v)) for v in (dx + dy, dx - dy))
    return {0: (dx, dy), 1: (0, 0), 2: (dx, 0), 3: (0, dy), 4: (s, s), 5: (d, -d)}[i]


def collapse_matrices(terms: tuple[int, ...], reach: int = 1) -> Tensor:
    """The maps M_i with ``vec(T_i K) = M_i vec(K)``, row-major, (len(terms), side * side, 9) for a side of 2 * reach + 1."""
    side = 2 * reach + 1
    maps = torch.zeros(len(terms), side * side, 9)
    for n, i in enumerate(terms):
        for tap, (dy, dx) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
            x, y = reference(i, dx, dy, reach)
            maps[n, (y + reach) * side + x + reach, tap] = 1
    return maps


class Gate(nn.Module):
    """Weights of the difference convolutions, per image: pooled features, an MLP, and a softmax over the k largest."""

    def __init__(self, channels: int, candidates: int, k: int) -> None:
        super().__init__()
        self.k = k
        hidden = max(8, channels // 4)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, candidates))
        nn.init.normal_(self.mlp[2].weight, std=0.01)  # small but random: exact ties would always pick the first ones
        nn.init.zeros_(self.mlp[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to weights (B, candidates): k of them positive with sum 1, the rest zero."""
        with torch.autocast(x.device.type, enabled=False):
            # Channels last, so that the gradient comes back in the layout of the features and needs no transposing.
            pooled = x.permute(0, 2, 3, 1).mean((1, 2), dtype=self.mlp[0].weight.dtype)
            logits = self.mlp(pooled)
            chosen = logits.topk(self.k, dim=1).indices
            masked = torch.full_like(logits, -torch.inf).scatter(1, chosen, logits.gather(1, chosen))
            return masked.softmax(1)


class MoDC(nn.Module):
    """``D0(x) - strength * sum_i weight_i D_i(x)``, as one convolution an image (HideMIA, Eq. 3).

    Args:
        inputs, outputs: channels.
        k: how many difference convolutions an image uses; 0 makes it a vanilla convolution without a gate.
        strength: lambda of the paper.
        candidates: which of D1 to D5 there are.
        diagonal: ``"projected"``, or ``"literal"`` for D4 and D5 as printed, which need a 5x5 kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        k: int = 2,
        strength: float = 0.5,
        candidates: tuple[int, ...] = (1, 2, 3, 4, 5),
        diagonal: str = "projected",
    ) -> None:
        super().__init__()
        like = nn.Conv2d(inputs, outputs, 3)
        self.weight, self.bias = like.weight, like.bias
        self.strength = strength
        self.gate = Gate(inputs, len(candidates), k) if k else None
        self.reach = 2 if diagonal == "literal" and {4, 5} & set(candidates) else 1
        self.register_buffer("maps", collapse_matrices((0, *candidates), self.reach), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        if self.gate is None or self.strength == 0:
            return F.conv2d(x, self.weight, self.bias, padding=1)
        kernels = self.merged(self.gate(x))
        return torch.cat(
            [F.conv2d(image, kernel, self.bias, padding=self.reach) for image, kernel in zip(x.split(1), kernels)]
        )

    def merged(self, weights: Tensor) -> tuple[Tensor, ...]:
        """One kernel an image, (outputs, inputs, side, side) each, for gate weights (B, candidates).

        The taps of all images are mixed in a single matrix product whose long side is the number of kernel entries.
        """
        with torch.autocast(weights.device.type, enabled=False):
            maps = self.maps.to(self.weight.dtype)
            mixed = torch.einsum("bn,nij->bij", weights.to(self.weight.dtype), maps[1:])
            change = maps[0] - self.strength * mixed
        taps = self.weight.permute(2, 3, 0, 1).reshape(9, -1)
        side = 2 * self.reach + 1
        kernels = (change.flatten(0, 1) @ taps).view(-1, side, side, *self.weight.shape[:2])
        return tuple(k.contiguous(memory_format=torch.channels_last) for k in kernels.permute(0, 3, 4, 1, 2))
