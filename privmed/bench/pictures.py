"""What methods do to images, made visible: perturbations beside their images, marked images beside unmarked ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from privmed.files import make_folder, whole_file
from privmed.imaging.wire import write_view

SHOWN = 3  # images of each published set


def write_strip(folder: Path, label: str, clean: Tensor, published: Tensor, epsilon: float) -> None:
    """Write a sheet: the first images, what is published, and the change (grey is none, black and white are epsilon).

    Args:
        folder: where the sheet goes.
        label: of the published set; makes the file's name.
        clean: (N, 3, S, S) uint8.
        published: the same shape.
        epsilon: full scale of the change.
    """
    before, after = (x[:SHOWN].float() / 255 for x in (clean, published))
    change = (0.5 + (after - before) / (2 * epsilon)).clamp(0, 1)
    rows = [torch.cat(list(x), 2) for x in (before, after, change)]
    make_folder(folder)
    write_view(path_of(folder, label), torch.cat(rows, 1)[None], overwrite=True)


def path_of(folder: Path, label: str) -> Path:
    """Where the sheet of a published set lies."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')}.png"


def write_pair(path: Path, left: np.ndarray, right: np.ndarray) -> None:
    """Write two images of one shape side by side."""
    make_folder(path.parent)
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(np.concatenate([left, right], axis=1)).save(temporary, "PNG")
