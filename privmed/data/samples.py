"""Images that come with dependencies, and phantoms with an exact ground truth: enough for a demonstration without any download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.covert.case import CovertCase
from privmed.errors import MissingDependencyError
from privmed.imaging import read, read_secret

SIDE = 224


def photograph(name: str) -> Tensor:
    """A picture that comes with scikit-image, (1, 3, H, W) in [0, 1]."""
    try:
        import skimage.data
    except ImportError as error:
        raise MissingDependencyError("the demo needs scikit-image and pydicom: pip install 'privmed[demo]'.") from error
    folder = Path(skimage.data.__file__).parent
    path = next((p for p in (folder / f"{name}.png", folder / f"{name}.jpg") if p.is_file()), None)
    if path is None:
        raise MissingDependencyError(f"this scikit-image has no picture {name!r}: pip install -U scikit-image.")
    return read(path).tensor()


def dicom(name: str) -> Tensor:
    """A scan that comes with pydicom, as it is seen, (1, 1, H, W) in [0, 1]."""
    try:
        from pydicom.data import get_testdata_file
    except ImportError as error:
        raise MissingDependencyError("the demo needs pydicom: pip install 'privmed[dicom]'.") from error
    path = get_testdata_file(name, download=False)
    if path is None:
        raise MissingDependencyError(f"this pydicom has no file {name}: pip install -U pydicom.")
    return read_secret(path, allow_lossy=True).tensor()  # the demo hides what is seen of it


def centre(image: Tensor, side: int = SIDE) -> Tensor:
    """The central square, scaled to (1, C, side, side)."""
    edge = min(image.shape[-2:])
    top, left = ((n - edge) // 2 for n in image.shape[-2:])
    square = image[..., top : top + edge, left : left + edge]
    return F.interpolate(square, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def ultrasound_phantom(seed: int, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """A breast-ultrasound-like image with a dark, speckled lesion and its exact mask, each (1, 1, side, side)."""
    rng = np.random.default_rng([seed, 1])
    y, x = np.mgrid[0:side, 0:side] / side
    mask = blob(x, y, (0.48, 0.46), (0.20, 0.14), 0.06, rng)
    depth = 0.62 - 0.25 * y + 0.10 * np.sin(14 * y + 3 * np.sin(5 * x + rng.uniform(0, 6)))
    shadow = np.where((np.abs(x - 0.48) < 0.17) & (y > 0.46), 0.82, 1.0)
    echo = np.where(mask, 0.16, depth * smooth(shadow, 6))
    speckle = smooth(rng.rayleigh(1.0, (side, side)), 1.0)
    image = np.clip(smooth(echo, 1.2) * speckle / speckle.mean() * 0.9, 0, 1)
    return as_tensor(image), as_tensor(mask)


def skin_phantom(seed: int, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """A dermatoscope-like image with a brown lesion, (1, 3, side, side), and its exact mask, (1, 1, side, side)."""
    rng = np.random.default_rng([seed, 2])
    y, x = np.mgrid[0:side, 0:side] / side
    mask = blob(x, y, (0.5, 0.5), (0.24, 0.19), 0.08, rng)
    grain = smooth(rng.normal(size=(side, side)), 2.5) * 0.25 + smooth(rng.normal(size=(side, side)), 14) * 1.0
    skin, mole = np.array([0.80, 0.60, 0.52]), np.array([0.42, 0.26, 0.19])
    amount = smooth(mask.astype(float), 3)[..., None]
    image = skin * (1 - amount) + mole * amount + 0.35 * grain[..., None] * np.array([0.9, 0.8, 0.7])
    fall = 1 - 0.35 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    return as_tensor(np.clip(image * fall[..., None], 0, 1)), as_tensor(mask)


def blob(
    x: np.ndarray, y: np.ndarray, at: tuple[float, float], radii: tuple[float, float], ripple: float, rng
) -> np.ndarray:
    """An ellipse with a gently rippled border."""
    angle = np.arctan2((y - at[1]) / radii[1], (x - at[0]) / radii[0])
    border = 1 + sum(ripple / k * np.sin(k * angle + rng.uniform(0, 6.28)) for k in (2, 3, 5, 7))
    return np.hypot((x - at[0]) / radii[0], (y - at[1]) / radii[1]) < border


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of a plane."""
    reach = max(1, round(3 * sigma))
    line = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    line /= line.sum()
    padded = np.pad(x, reach, mode="reflect")
    rows = np.apply_along_axis(np.convolve, 1, padded, line, mode="valid")
    return np.apply_along_axis(np.convolve, 0, rows, line, mode="valid")


def as_tensor(image: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) to (1, C, H, W) float32."""
    stacked = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    return torch.from_numpy(np.ascontiguousarray(stacked, dtype=np.float32))[None]


def demo_cases(seed: int = 0) -> list[CovertCase]:
    """What ``privmed demo`` shows: two lesions analysed while hidden, and four scans that only travel."""
    ultrasound, lesion = ultrasound_phantom(seed)
    skin, mole = skin_phantom(seed)
    return [
        CovertCase(
            "ultrasound", "breast ultrasound (phantom)", ultrasound, photograph("chelsea"), mask=lesion, weights="busi"
        ),
        CovertCase("skin", "skin lesion (phantom)", skin, photograph("coffee"), mask=mole, weights="isic"),
        CovertCase("fundus", "fundus photograph", centre(photograph("retina")), photograph("astronaut")),
        CovertCase("tissue", "stained tissue", centre(photograph("ihc")), photograph("rocket")),
        CovertCase("ct", "CT slice (DICOM)", dicom("CT_small.dcm"), photograph("chelsea")),
        CovertCase("mr", "MR slice (DICOM)", dicom("MR_small.dcm"), photograph("coffee")),
    ]
