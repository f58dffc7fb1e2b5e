"""The wire: an 8-bit PNG that carries pixels and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from privmed.errors import InputError, OutputError, VerificationError
from privmed.files import whole_file
from privmed.imaging.raster import encode_png, read_png
from privmed.imaging.read import kind_of, sniff
from privmed.limits import read_bytes

ROUNDING = 0.5 / 255  # what a value may lie outside of [0, 1] and still be rounded to an end of it


def to_bytes(image: Tensor) -> np.ndarray:
    """Clamp (1, C, H, W) to [0, 1] and round it to 8 bits, (H, W) or (H, W, 3) uint8."""
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise InputError(f"expected one image (1, 1 or 3, H, W), got shape {tuple(image.shape)}.")
    if not torch.isfinite(image).all():
        raise InputError("the image holds NaN or infinite values, which cannot be written.")
    pixels = (image[0].detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def in_range(image: Tensor) -> Tensor:
    """An image that somebody wants to write, as it is; a mask may be of truth values.

    Raises:
        InputError: for 8-bit values, and what is outside of [0, 1].
    """
    if image.dtype == torch.bool or not image.numel():
        return image
    if not image.is_floating_point():
        raise InputError(f"expected an image in [0, 1], got {image.dtype}. Divide 8-bit values by 255.")
    low, high = (float(end) for end in image.detach().aminmax())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"expected an image in [0, 1], got values from {low:.3g} to {high:.3g}.")
    return image


def from_bytes(pixels: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) uint8 to (1, C, H, W) float32 in [0, 1]."""
    stacked = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.ascontiguousarray(stacked)).permute(2, 0, 1)[None].float() / 255


def write_view(path: str | Path, image: Tensor, *, overwrite: bool = False) -> Path:
    """Write an image in [0, 1] as an ordinary 8-bit PNG.

    Args:
        path: a name that ends in ``.png``.
        image: (1, 1 or 3, H, W) in [0, 1], float; rounded to 8 bits.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: for another shape, NaN or infinite values, or what is not in [0, 1].
        OutputError: when the name is not that of a PNG, or the file exists or cannot be written.

    Example:
        >>> import torch
        >>> from privmed.imaging import write_view
        >>> write_view("mask.png", torch.zeros(1, 1, 32, 48)).name
        'mask.png'
    """
    if Path(path).suffix.lower() != ".png":
        raise OutputError(f"{path}: is written as a PNG; give it a name that ends in .png.")
    data = encode_png(to_bytes(in_range(image)))
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_wire(
    path: str | Path, image: Tensor, *, overwrite: bool = False, check: Callable[[Tensor], None] | None = None
) -> Tensor:
    """Write what is transmitted in colour, and read it back.

    Args:
        path: a name that ends in ``.png``.
        image: (1, 1 or 3, H, W) in [0, 1]; rounded to 8 bits.
        overwrite: whether an existing file may be replaced.
        check: called with what the file holds before the file gets its name; if it raises, nothing is left.

    Returns:
        What the file holds, (1, 3, H, W) float32.

    Raises:
        InputError: as :func:`write_view`.
        OutputError, VerificationError: as :func:`write_pixels`.

    Example:
        >>> import torch
        >>> from privmed.imaging import read_wire, write_wire
        >>> sent = write_wire("stego.png", torch.rand(1, 3, 32, 48))
        >>> torch.equal(read_wire("stego.png"), sent)
        True
    """
    colour = image.expand(-1, 3, -1, -1) if image.ndim == 4 and image.shape[1] == 1 else image
    again = None if check is None else lambda held: check(from_bytes(held))
    return from_bytes(write_pixels(path, in_range(colour), overwrite=overwrite, check=again))


def write_pixels(
    path: str | Path, image: Tensor, *, overwrite: bool = False, check: Callable[[np.ndarray], None] | None = None
) -> np.ndarray:
    """As :func:`write_wire`, but grey stays grey.

    Returns:
        What the file holds, (H, W) or (H, W, 3) uint8.

    Raises:
        InputError: when the image cannot be written.
        OutputError: when the name is not that of a PNG, or the file exists or cannot be written.
        VerificationError: when the file does not hold the pixels it was given, or anything besides them.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path}: what is transmitted must be a PNG. Name it {path.with_suffix('.png').name}.")
    pixels = to_bytes(image)
    data = encode_wire(pixels, path)
    with whole_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
        held = read_pixels(temporary)
        if not np.array_equal(held, pixels):
            raise VerificationError(
                f"{path}: the file does not hold the pixels that were written. Is the disk damaged?"
            )
        if check is not None:
            check(held)
    return held


def encode_wire(pixels: np.ndarray, name: str | Path) -> bytes:
    """The PNG that is transmitted, of (H, W) or (H, W, 3) uint8: pixels and nothing else.

    Raises:
        VerificationError: when the encoder put in more than pixels.
    """
    data = encode_png(pixels)
    if set(chunks(data)) != {"IHDR", "IDAT", "IEND"}:
        raise VerificationError(
            f"{name}: the encoder put more than pixels into the PNG ({', '.join(sorted(set(chunks(data))))})."
        )
    return data


def read_wire(path: str | Path) -> Tensor:
    """Read a stego or a response: (1, 3, H, W) float32 in [0, 1].

    Raises:
        InputError: for anything but an 8-bit PNG: any re-encoding destroys what is hidden.

    Example:
        >>> import torch
        >>> from PIL import Image
        >>> from privmed.imaging import read_wire, write_wire
        >>> sent = write_wire("stego.png", torch.rand(1, 3, 32, 48))
        >>> read_wire("stego.png").shape
        torch.Size([1, 3, 32, 48])
        >>> Image.open("stego.png").save("stego.jpg")  # what is hidden is lost with the first re-encoding
        >>> read_wire("stego.jpg")
        Traceback (most recent call last):
        privmed.errors.InputError: stego.jpg: is a JPEG file, whose compression destroys what is hidden. ...
    """
    return in_colour(read_pixels(path))


def read_pixels(path: str | Path) -> np.ndarray:
    """As :func:`read_wire`, as the file holds them: (H, W) or (H, W, 3) uint8."""
    path = Path(path)
    sniff(path)
    return decode_pixels(read_bytes(path), path)


def decode_wire(data: bytes, name: str | Path) -> Tensor:
    """As :func:`read_wire`, of the bytes of a file; ``name`` is what messages call it.

    Raises:
        InputError: for anything but an 8-bit PNG.
    """
    return in_colour(decode_pixels(data, name))


def in_colour(pixels: np.ndarray) -> Tensor:
    """Pixels of a PNG as what arrives, (1, 3, H, W) float32."""
    return from_bytes(pixels).expand(-1, 3, -1, -1).contiguous()


def decode_pixels(data: bytes, name: str | Path) -> np.ndarray:
    """As :func:`read_pixels`, of the bytes of a file."""
    path = Path(name)
    kind = kind_of(path, data[:132])
    if kind != "png":
        reason = "whose compression destroys what is hidden" if kind == "jpeg" else "not a PNG"
        raise InputError(f"{path}: is a {kind.upper()} file, {reason}. Use the PNG that was sent, unchanged.")
    picture = read_png(path, data)
    if picture.bits != 8 or "palette" in picture.extra:
        raise InputError(
            f"{path}: is not a plain 8-bit PNG, so it is not what was sent. Use the PNG that was sent, unchanged."
        )
    return picture.pixels


def chunks(data: bytes) -> list[str]:
    """Names of the chunks of a PNG, in order."""
    names, at = [], 8
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode("latin1"))
        at += 12 + length
    return names
