"""What the owner of a marked picture keeps, so that the mark comes off bit for bit.

Reference:
    B. Pu et al., "MedLocker", arXiv 2303.09858, Eq. 9. The key of the paper (opacities and place) restores a picture only roughly: rounding
    loses information, and an opaque pixel loses all of it. Ours holds the residual as well, and fingerprints of both pictures.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np

from privmed.errors import KeyFileError
from privmed.imaging.overlay import Overlay, guess


def make_record(original: np.ndarray, marked: np.ndarray, overlay: Overlay, max_value: int | None) -> dict[str, Any]:
    """All that is needed to lift a mark again: plain data and bytes.

    Args:
        original: stored values, (H, W) or (H, W, 3) integers.
        marked: the same with the mark.
        overlay: the mark.
        max_value: the stored value of white, if the mark was blended in stored values; None if in what is seen of them. The residual is
            taken from the best guess of the original in the first case, from the marked picture in the second.
    """
    return {
        "levels": max_value,
        "place": [overlay.x, overlay.y, *reversed(overlay.opacity.shape)],
        "opacity": zlib.compress(overlay.opacity.tobytes(), 9),
        "colour": zlib.compress(np.ascontiguousarray(overlay.colour).tobytes(), 9),
        "residual": zlib.compress(_wrapped(original[overlay.window], _base(marked, overlay, max_value)).tobytes(), 9),
        "original": fingerprint(original),
        "marked": fingerprint(marked),
    }


def use_record(marked: np.ndarray, record: dict[str, Any]) -> np.ndarray:
    """Lift a mark with its record; what comes back is checked against the fingerprint of the original.

    Raises:
        KeyFileError: when the picture is not the one that was marked, or the record is damaged.
    """
    try:
        overlay, original = overlay_of(record), record["original"]
        residual = np.frombuffer(zlib.decompress(record["residual"]), _unsigned(marked))
        if fingerprint(marked) != record["marked"]:
            raise KeyFileError("image: was altered after it was marked, so its original cannot be restored from it.")
        base = _base(marked, overlay, record["levels"])
        out = marked.copy()
        out[overlay.window] = (
            (base.astype(np.int64) + residual.reshape(base.shape)).astype(_unsigned(marked)).view(marked.dtype)
        )
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise KeyFileError("record: is damaged, or not a record of a watermark.") from error
    if fingerprint(out) != original:
        raise KeyFileError("record: does not restore the original it names, so it is damaged.")
    return out


def overlay_of(record: dict[str, Any]) -> Overlay:
    """The mark that a record describes."""
    x, y, width, height = record["place"]
    opacity = np.frombuffer(zlib.decompress(record["opacity"]), np.uint8).reshape(height, width)
    colour = np.frombuffer(zlib.decompress(record["colour"]), np.uint8).reshape(height, width, 3)
    return Overlay(x, y, opacity, colour)


def fingerprint(values: np.ndarray) -> str:
    """SHA-256 of shape, type and pixels."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return hashlib.sha256(f"{values.shape} {little.dtype.str}".encode() + little.tobytes()).hexdigest()


def _base(marked: np.ndarray, overlay: Overlay, max_value: int | None) -> np.ndarray:
    return marked[overlay.window].astype(np.int64) if max_value is None else guess(marked, overlay, max_value)


def _wrapped(values: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The difference, modulo the range of the type."""
    return (values.astype(np.int64) - base).astype(_unsigned(values))


def _unsigned(values: np.ndarray) -> np.dtype:
    return np.dtype(f"<u{values.dtype.itemsize}")
