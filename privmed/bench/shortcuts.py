"""Whether a protected set holds a shortcut: how well what was changed, or what a small window shows, tells lesions from their surroundings.

Noise keeps a network from learning where it is easier to see than what the masks are about (D. Yu et al., "Availability Attacks Create
Shortcuts", KDD 2022, where effective noise is linearly separable). So a linear discriminant sees a window of 5 x 5 pixels around a pixel:
its 25 cosine coefficients, which see a pattern that is the same in all images, and how large each is around there, which sees noise that
is stronger inside than outside. It learns on half of the images and is tried on the others.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional as F

WINDOW = 5  # pixels
AROUND = 9  # side of the square over which the strength of a coefficient is averaged
PIXELS = 200  # of each image, inside and outside
FLOOR = 0.01  # squared grey levels that count as nothing
SHRINKAGE = 0.01  # added to the variance of each feature, as a share of it


def shortcut(images: Tensor, masks: Tensor, seed: int = 0) -> float:
    """Area under the ROC curve with which small windows tell lesion from surroundings on images that the discriminant did not see.

    Args:
        images: (N, 1 or 3, H, W), in grey levels; or what was changed of them.
        masks: (N, 1, H, W), 0 or 1. Images without a lesion, or with nothing else, do not count.
        seed: of which pixels are looked at.

    Returns:
        0.5 where nothing can be told, 1 where everything can; the mean of both halves as the unseen one. NaN for less than two images.
    """
    rng = np.random.default_rng(seed)
    sampled = [_sample(x, m[0] > 0.5, rng) for x, m in zip(images.float(), masks) if 0 < m.sum() < m.numel()]
    if len(sampled) < 2:
        return float("nan")
    halves = [tuple(torch.cat(part) for part in zip(*sampled[k::2])) for k in (0, 1)]
    return sum(_judged(*halves[k], *halves[1 - k]) for k in (0, 1)) / 2


def _sample(image: Tensor, inside: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Features of some pixels inside, and of some outside."""
    seen = features(image)
    inner, outer = (_some(where.flatten().nonzero()[:, 0], rng) for where in (inside, ~inside))
    return seen[:, inner].T.double(), seen[:, outer].T.double()


def _some(indices: Tensor, rng: np.random.Generator) -> Tensor:
    return indices[torch.from_numpy(rng.choice(len(indices), min(PIXELS, len(indices)), replace=False))]


def features(image: Tensor) -> Tensor:
    """What the window around each pixel of (C, H, W) shows, (C * 50, H * W): cosine coefficients, and logarithms of their strength."""
    basis = torch.from_numpy(dct(np.eye(WINDOW), norm="ortho")).float().T
    kernels = torch.einsum("ia,jb->ijab", basis, basis).reshape(-1, 1, WINDOW, WINDOW)
    windows = F.conv2d(_padded(image[:, None], WINDOW), kernels)
    strength = F.avg_pool2d(_padded(windows.square(), AROUND), AROUND, 1)
    return torch.cat([windows, (strength + FLOOR).log()], 1).flatten(0, 1).flatten(1)


def _padded(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (window // 2,) * 4, mode="reflect")


def _judged(inside: Tensor, outside: Tensor, new_inside: Tensor, new_outside: Tensor) -> float:
    """Fit Fisher's discriminant to two samples, and return the area under its ROC curve on two others."""
    both = torch.cat([inside, outside])
    mean, scale = both.mean(0), both.std(0).clamp_min(1e-9)
    a, b = ((x - mean) / scale for x in (inside, outside))
    within = (torch.cov(a.T) + torch.cov(b.T)) / 2 + SHRINKAGE * torch.eye(a.shape[1], dtype=a.dtype)
    weight = torch.linalg.solve(within, a.mean(0) - b.mean(0))
    of, others = (((x - mean) / scale) @ weight for x in (new_inside, new_outside))
    ranked = others.sort().values
    below = torch.searchsorted(ranked, of) + torch.searchsorted(ranked, of, right=True)
    return float(below.double().mean() / 2 / len(ranked))
