"""Maps of several classes as pictures: a point of the RGB cube for each class, far from all others, so that a map travels as an image.

Class 0 is the background, and black.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

LARGEST = 64  # classes; their colours are a third of the range apart
TETRAHEDRON = ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0))


def codes(classes: int) -> Tensor:
    """The colours of classes, (classes, 3) in [0, 1].

    Two are the ends of the cube's diagonal (distance sqrt 3), up to four the corners of a tetrahedron in it (sqrt 2), up to eight its
    corners (1), more of them points of a grid in it. No further class changes the first one, black.

    Args:
        classes: how many, the background among them; 2 to 64.
    """
    if classes == 2:
        return torch.tensor([(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
    if classes <= len(TETRAHEDRON):
        return torch.tensor(TETRAHEDRON[:classes])
    side = next(n for n in itertools.count(2) if n**3 >= classes)
    line = [k / (side - 1) for k in range(side)]
    return torch.tensor(list(itertools.product(line, repeat=3))[:classes])


def encode(labels: Tensor, classes: int) -> Tensor:
    """A map of class numbers, (B, 1, H, W), as an image (B, 3, H, W) in their colours."""
    return codes(classes).to(labels.device)[labels[:, 0].long()].permute(0, 3, 1, 2)


def label_map(found: Tensor) -> Tensor:
    """The class of each pixel, (B, 1, H, W) float, from probabilities: of the foreground (B, 1, H, W), or of classes (B, K, H, W)."""
    return (found > 0.5).float() if found.shape[1] == 1 else found.argmax(1, keepdim=True).float()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """A map of class numbers, (B, 1, H, W), as one plane a class, (B, classes, H, W) of 0 and 1."""
    numbers = torch.arange(classes, device=labels.device).view(1, -1, 1, 1)
    return (labels == numbers).float()
