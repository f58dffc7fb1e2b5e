"""What a perturbation looks like: images, what is published in their place, and the difference made visible."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import torch
from torch import Tensor

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
    folder.mkdir(parents=True, exist_ok=True)
    write_view(path_of(folder, label), torch.cat(rows, 1)[None], overwrite=True)


def path_of(folder: Path, label: str) -> Path:
    """Where the sheet of a published set lies."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', label.lower()).strip('-')}.png"


def strips_html(folder: Path, labels: list[str]) -> str:
    """The sheets that are there, inside the page."""
    parts = []
    for label in labels:
        path = path_of(folder, label)
        if path.is_file():
            uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
            name = html.escape(label)
            parts.append(
                f'<figure><img src="{uri}" alt="{name}" style="width:100%"><figcaption>{name}</figcaption></figure>'
            )
    if not parts:
        return ""
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem"
    caption = "Each sheet: clean images, what is published, and the change (grey: none; black and white: epsilon)."
    return f'<h2>The perturbations</h2><p>{caption}</p><div style="{grid}">{"".join(parts)}</div>'
