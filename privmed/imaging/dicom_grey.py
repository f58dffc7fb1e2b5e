"""How stored DICOM values become visible: modality, values of interest, palettes (PS3.3 C.11 and C.7.6.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from privmed.imaging.chain import Chain, Clip, Linear, Palette, Sigmoid, Step, Table


def grey_chain(dataset: Any, pixels: np.ndarray) -> Chain:
    """The chain of a grey image: modality, VOI, photometric interpretation (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).

    A deep image without any window is shown from its smallest to its largest value, as viewers do: over the whole range of its
    type most would be one grey.
    """
    stored, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        return Chain((_palette(dataset),), low, high)
    modality = _modality(dataset)
    steps: list[Step] = [*modality, *_voi(dataset, *ends(dataset, pixels))]
    if photometric == "MONOCHROME1":
        steps.append(Linear(-1.0, 1.0))
    return Chain(tuple(steps), low, high)


def ends(dataset: Any, pixels: np.ndarray) -> tuple[float, float]:
    """What an image without a window is shown from and to, behind its modality transformation."""
    stored, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    seen = pixels[~_padding(dataset, pixels)]
    whole = stored <= 8 or not seen.size or seen.min() == seen.max()
    shown = np.array([low, high]) if whole else np.array([seen.min(), seen.max()])
    first, last = sorted(float(x) for x in Chain(_modality(dataset), low, high).forward(shown))
    return first, last


def _padding(dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Which pixels only fill the frame (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(pixels.shape, bool)
    low, high = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    return (pixels >= low) & (pixels <= high)


def has_window(dataset: Any) -> bool:
    width = _first(dataset.get("WindowWidth"))
    return bool(dataset.get("VOILUTSequence")) or (_first(dataset.get("WindowCenter")) is not None and (width or 0) > 0)


def _modality(dataset: Any) -> tuple[Step, ...]:
    if dataset.get("ModalityLUTSequence"):
        return (_table(dataset.ModalityLUTSequence[0], dataset)[0],)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return () if (slope, intercept) == (1, 0) else (Linear(slope, intercept),)


def _voi(dataset: Any, low: float, high: float) -> list[Step]:
    """VOI LUT if there is one (it takes precedence), else the first window, else the whole range of values."""
    if dataset.get("VOILUTSequence"):
        table, top = _table(dataset.VOILUTSequence[0], dataset)
        return [table, Linear(1 / top), Clip()]
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return [Linear(1 / (high - low), -low / (high - low)), Clip()]
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    if function == "SIGMOID":
        return [Sigmoid(centre, width)]
    if function == "LINEAR" and width > 1:  # PS3.3 C.11.2.1.2.1: the half-pixel convention
        centre, width = centre - 0.5, width - 1
    return [Linear(1 / width, 0.5 - centre / width), Clip()]


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)


def _table(item: Any, dataset: Any) -> tuple[Table, float]:
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = count or 2**16
    if dataset.PixelRepresentation and first >= 2**15:
        first -= 2**16  # stored as unsigned, meant as signed
    raw = item.LUTData
    if isinstance(raw, bytes):
        entries = np.frombuffer(raw, dtype=np.uint8 if len(raw) == count else "<u2")[:count]
    else:
        entries = np.asarray(raw, dtype=np.int64)[:count]
    return Table(entries, first), float(2**bits - 1)


def _palette(dataset: Any) -> Palette:
    from pydicom.pixels import apply_color_lut

    count, first, _ = (int(v) for v in dataset.RedPaletteColorLookupTableDescriptor)
    indices = np.arange(first, first + (count or 2**16)).astype(np.uint16)[None]
    colours = apply_color_lut(indices, dataset)[0]
    return Palette(colours / np.iinfo(colours.dtype).max, first)
