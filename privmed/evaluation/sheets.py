"""Marked images as a reader sees them: each beside its original, with what the model says of both."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from privmed.evaluation.watermark import Case
from privmed.imaging.logo import fit_logo
from privmed.imaging.overlay import Overlay, blend

SHOWN = 3  # images of each attack


def marked_view(view: np.ndarray, logo: Tensor, place: list[int], scale: float = 4.0) -> np.ndarray:
    """The image a line of the journal stands for (without a veil), (H, W) or (H, W, 3) uint8.

    Args:
        view: the unmarked image, same shape and type.
        logo: the mark.
        place: column, row and opacity limit.
        scale: of the watermarker.
    """
    x, y, limit = place
    opacity, colour = fit_logo(logo, view.shape[:2], scale)
    return blend(view, Overlay(x, y, np.minimum(opacity, limit).astype(np.uint8), colour), 255)


def sheets_html(cases: Sequence[Case], classes: list[str], found: dict[str, list[dict[str, Any]]], logo: Tensor) -> str:
    """The first images that each attack succeeded on, inside the page; ``found`` is by attack, place and source."""
    views, parts = {c.name: c.view for c in cases}, []
    for words, lines in found.items():
        source = words.rpartition(", ")[2]
        chosen = [r for r in lines if r["success"]][:SHOWN]
        pictures = []
        for line in chosen:
            view = views[line["file"]]
            both = np.concatenate([view, marked_view(view, logo, line["place"], line["scale"])], axis=1)
            says = f"{classes[line['before'][source]]} → {classes[line['after'][source]]}"
            pictures.append(f"<figure>{image_tag(both, says)}<figcaption>{html.escape(says)}</figcaption></figure>")
        if pictures:
            parts.append(f"<h3>{html.escape(words)}</h3><div class=sheets>{''.join(pictures)}</div>")
    if not parts:
        return ""
    style = "<style>.sheets{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:1rem}</style>"
    return f"{style}<h2>Marked images</h2><p>Left as it was, right as published, and what the source says.</p>{''.join(parts)}"


def image_tag(view: np.ndarray, words: str) -> str:
    """A picture inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(view).save(buffer, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="{uri}" alt="{html.escape(words)}" style="width:100%">'
