"""Detectors of hidden data, from one that needs no training to one that is trained on pairs.

``recover`` just runs the public hider backwards and looks at whether a picture comes out. ``cooccurrence`` counts how differences of
neighbouring pixels follow one another, as T. Pevny, P. Bas and J. Fridrich do ("Steganalysis by Subtractive Pixel Adjacency Matrix",
IEEE TIFS 2010: second order, differences cut at 3, horizontal and vertical directions averaged, diagonal ones too), here of the grey image
and of two colour differences; a linear discriminant decides.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor

from privmed import hookimpl
from privmed.bench.contracts import Detector
from privmed.interfaces import Hider
from privmed.settings import at_least, positive, setting

BATCH = 8
STRAIGHT = ((0, 1), (0, -1), (1, 0), (-1, 0))
DIAGONAL = ((1, 1), (1, -1), (-1, 1), (-1, -1))


class PublicRecover(Detector):
    """Run the public hider backwards: a picture has neighbouring pixels that are alike, and noise has not."""

    name = "recover"
    needs_public = True

    def __init__(self, config=None) -> None:
        super().__init__(config)
        self.threshold = 0.5

    def fit(self, covers: Tensor, stegos: Tensor, public: Hider | None) -> None:
        scores = [self.score(x, public) for x in (covers, stegos)]
        self.threshold += float(best_threshold(*scores))

    def score(self, images: Tensor, public: Hider | None) -> Tensor:
        read = [public.recover(part.float() / 255, clamp=False) for part in images.split(BATCH)]
        return torch.cat([neighbours(x) for x in read]) - self.threshold


def neighbours(images: Tensor) -> Tensor:
    """Correlation of adjacent pixels, mean over directions and channels, (B,); of constant images 0."""
    found = []
    for a, b in ((images[..., 1:], images[..., :-1]), (images[..., 1:, :], images[..., :-1, :])):
        a, b = (x.flatten(2).double() - x.flatten(2).double().mean(2, keepdim=True) for x in (a, b))
        both = (a.square().mean(2) * b.square().mean(2)).sqrt()
        found.append(((a * b).mean(2) / both.clamp_min(1e-12)).mean(1))
    return torch.stack(found).mean(0).float()


def best_threshold(negative: Tensor, positive: Tensor) -> Tensor:
    """The score between two neighbouring ones that tells most of two samples apart, of equal weight a class."""
    values = torch.cat([negative, positive]).unique()
    cuts = torch.cat([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    right = (positive[None] > cuts[:, None]).double().mean(1) + (negative[None] <= cuts[:, None]).double().mean(1)
    return cuts[right.argmax()]


@frozen(kw_only=True)
class CooccurrenceConfig:
    """Settings of :class:`Cooccurrence`."""

    limit: int = setting(3, "differences are cut off beyond it (T of the paper)", at_least(1))
    shrinkage: float = setting(
        0.01, "added to the variance of each feature before the discriminant, as a share of it", positive()
    )


class Cooccurrence(Detector):
    """Co-occurrences of differences of neighbouring pixels, and a linear discriminant (Fisher) on them."""

    name = "cooccurrence"
    Config = CooccurrenceConfig

    def fit(self, covers: Tensor, stegos: Tensor, public: Hider | None) -> None:
        a, b = (self.features(x) for x in (covers, stegos))
        both = torch.cat([a, b])
        self.mean, self.scale = both.mean(0), both.std(0).clamp_min(1e-12)
        a, b = ((x - self.mean) / self.scale for x in (a, b))
        within = (torch.cov(a.T, correction=0) + torch.cov(b.T, correction=0)) / 2
        within += self.config.shrinkage * torch.eye(len(within), dtype=within.dtype)
        self.weight = torch.linalg.solve(within, b.mean(0) - a.mean(0))
        self.bias = -(self.weight @ (a.mean(0) + b.mean(0))) / 2

    def score(self, images: Tensor, public: Hider | None) -> Tensor:
        x = (self.features(images) - self.mean) / self.scale
        return (x @ self.weight + self.bias).float()

    def features(self, images: Tensor) -> Tensor:
        """Shares of all triples of differences, (N, 6 * (2 T + 1)^3) float64: of three planes, in straight and in diagonal directions."""
        x = images.long()
        grey = (x.sum(1) / 3).round().long()
        planes = (grey, x[:, 0] - x[:, 1], x[:, 2] - x[:, 1])
        parts = [triples(p, ways, self.config.limit) for p in planes for ways in (STRAIGHT, DIAGONAL)]
        return torch.cat(parts, 1)


def triples(plane: Tensor, directions: tuple[tuple[int, int], ...], limit: int) -> Tensor:
    """How often each triple of successive differences occurs along some directions, averaged over them, (N, (2 limit + 1)^3)."""
    states = 2 * limit + 1
    n, height, width = plane.shape
    counts = plane.new_zeros(n, states**3).double()
    for down, right in directions:
        walk = [shifted(plane, down, right, k, height, width) for k in range(4)]
        a, b, c = ((x - y).clamp(-limit, limit) + limit for x, y in pairwise(walk))
        code = ((a * states + b) * states + c).flatten(1)
        one = torch.zeros_like(counts).scatter_add_(1, code, torch.ones_like(code, dtype=torch.float64))
        counts += one / code.shape[1]
    return counts / len(directions)


def shifted(plane: Tensor, down: int, right: int, steps: int, height: int, width: int) -> Tensor:
    """The plane seen from ``steps`` further along a direction, cut so that all of a walk of four have one size."""
    rows, columns = (_window(n, step, steps) for n, step in ((height, down), (width, right)))
    return plane[:, rows, columns]


def _window(length: int, step: int, steps: int) -> slice:
    reach = 3 * abs(step)
    start = (0 if step >= 0 else reach) + step * steps
    return slice(start, start + length - reach)


@hookimpl
def privmed_register(register):
    register(PublicRecover)
    register(Cooccurrence)
