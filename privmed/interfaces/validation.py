"""Checks of what public methods are given: all send their tensors through here, so that all fail alike."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import InputError

MINIMUM_SIDE = 32


def image(name: str, x: Tensor, *, bounded: bool = True, values: bool = True) -> Tensor:
    """Check one batch of images and return it as float32 with three channels.

    Args:
        name: what the caller calls it, for messages.
        x: (B, C, H, W) floating point, C 1 or 3, sides at least 32, finite, in [0, 1] if ``bounded``.
        bounded: whether the range is checked.
        values: whether NaN and the range are checked.

    Returns:
        (B, 3, H, W) float32; a grey batch is repeated to three channels.

    Raises:
        InputError: one sentence that names the input, what is wrong with it and what to do.
    """
    tensor(name, x, channels=(1, 3))
    x = finite(name, x) if values else x.float()
    if bounded and values:
        x = in_unit_range(name, x)
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def tensor(name: str, x: Tensor, *, channels: tuple[int, ...]) -> None:
    """Check type, rank, channels and size of a batch of images."""
    if not isinstance(x, Tensor):
        raise InputError(
            f"{name}: expected a torch tensor (B, C, H, W), got {type(x).__name__}. "
            "Read files with privmed.imaging.read, or use torch.from_numpy."
        )
    if not x.is_floating_point():
        raise InputError(
            f"{name}: expected floating point in [0, 1], got {x.dtype}. Divide by the largest value first."
        )
    if x.ndim != 4:
        hint = " Add a batch dimension with x[None]." if x.ndim == 3 else ""
        raise InputError(f"{name}: expected 4 dimensions (B, C, H, W), got shape {tuple(x.shape)}.{hint}")
    if x.shape[0] == 0:
        raise InputError(f"{name}: the batch is empty.")
    if x.shape[1] not in channels:
        hint = " Move the channels to the front with x.permute(0, 3, 1, 2)." if x.shape[-1] in (1, 3, 4) else ""
        wanted = " or ".join(map(str, channels))
        raise InputError(f"{name}: expected {wanted} channels, got shape {tuple(x.shape)}.{hint}")
    if min(x.shape[-2:]) < MINIMUM_SIDE:
        raise InputError(
            f"{name}: H and W must be at least {MINIMUM_SIDE}, got {x.shape[-2]} x {x.shape[-1]}. Resize or pad it."
        )


def finite(name: str, x: Tensor) -> Tensor:
    """Return ``x`` as float32, or say that it holds NaN or infinite values."""
    x = x.float()
    if not torch.isfinite(x).all():
        raise InputError(f"{name}: holds NaN or infinite values. Replace them first, e.g. with torch.nan_to_num.")
    return x


def in_unit_range(name: str, x: Tensor) -> Tensor:
    """Check that ``x`` lies in [0, 1] up to float rounding, which is clamped away."""
    low, high = float(x.detach().min()), float(x.detach().max())
    if low < -1e-4 or high > 1 + 1e-4:
        hint = " Divide by 255 first." if low >= 0 and 1.5 < high <= 255 else " Scale it first."
        raise InputError(f"{name}: expected values in [0, 1], got [{low:g}, {high:g}].{hint}")
    return x.clamp(0, 1) if low < 0 or high > 1 else x


def mask(name: str, x: Tensor, like: Tensor) -> Tensor:
    """Check a batch of binary masks (B, 1, H, W) of the size of ``like`` and return it as float32."""
    if isinstance(x, Tensor) and x.dtype == torch.bool:
        x = x.float()
    tensor(name, x, channels=(1,))
    x = finite(name, x)
    if x.shape[0] != like.shape[0] or x.shape[-2:] != like.shape[-2:]:
        raise InputError(
            f"{name}: expected batch {like.shape[0]} of {like.shape[-2]} x {like.shape[-1]} like the image, "
            f"got batch {x.shape[0]} of {x.shape[-2]} x {x.shape[-1]}."
        )
    if not ((x == 0) | (x == 1)).all():
        raise InputError(
            f"{name}: expected only 0 and 1, got values in [{x.min():g}, {x.max():g}]. Threshold it first."
        )
    return x


def truth(name: str, x: Tensor, like: Tensor) -> Tensor:
    """Check what a model would be trained on: binary masks of the size of ``like``, or class numbers (B,) int64."""
    if not isinstance(x, Tensor) or x.ndim != 1:
        return mask(name, x, like)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise InputError(f"{name}: expected class numbers as integers, got {x.dtype}.")
    if len(x) != len(like):
        raise InputError(f"{name}: expected {len(like)} class numbers, one an image, got {len(x)}.")
    if int(x.min()) < 0:
        raise InputError(f"{name}: expected class numbers from 0, got {int(x.min())}.")
    return x.long()


def same_batch(name: str, x: Tensor, other: str, y: Tensor) -> Tensor:
    """Return ``x`` with the batch size of ``y``; a single item is shared by the whole batch."""
    if x.shape[0] == y.shape[0]:
        return x
    if x.shape[0] == 1:
        return x.expand(y.shape[0], -1, -1, -1)
    raise InputError(f"{name}: batch is {x.shape[0]}, but that of {other} is {y.shape[0]}. Give one, or as many.")


def fill(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale and centre-crop ``x`` (B, C, H, W) so that it fills ``size`` without distortion (aspect fill)."""
    height, width = size
    if x.shape[-2:] == (height, width):
        return x
    scale = max(height / x.shape[-2], width / x.shape[-1])
    scaled = (max(height, round(x.shape[-2] * scale)), max(width, round(x.shape[-1] * scale)))
    x = F.interpolate(x, scaled, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (scaled[0] - height) // 2, (scaled[1] - width) // 2
    return x[..., top : top + height, left : left + width]


def pad(x: Tensor, multiple: int) -> Tensor:
    """Reflect-pad ``x`` at the bottom and right until both sides are multiples of ``multiple``."""
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, down), mode="reflect") if down or right else x


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`pad`."""
    if x.shape[-2:] == tuple(size):  # a slice would cost a copy of the gradient
        return x
    return x[..., : size[0], : size[1]]


def generator_for(given: torch.Generator | int | None, device: torch.device) -> torch.Generator:
    """Return the caller's generator, or a fresh one: same seed (0 by default), same bytes."""
    if isinstance(given, torch.Generator):
        return given
    return torch.Generator(device).manual_seed(0 if given is None else int(given))


def generator_of(seed: torch.Generator | int, image: Tensor, device: torch.device) -> torch.Generator:
    """A generator of one image's own, made of a seed and its pixels, so that neither batch nor order matters."""
    base = seed.initial_seed() if isinstance(seed, torch.Generator) else int(seed)
    content = image.detach().cpu().contiguous().numpy().tobytes()
    digest = hashlib.sha256(base.to_bytes(16, "big", signed=True) + content).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
