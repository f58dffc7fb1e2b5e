"""Open a picture, whatever its name says it is."""

from __future__ import annotations

import os
from pathlib import Path

from privmed.errors import InputError, LossError
from privmed.imaging.dicom import read_dicom
from privmed.imaging.picture import Picture
from privmed.imaging.raster import read_jpeg, read_png, read_tiff
from privmed.limits import check_file, read_bytes

MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
}


def sniff(path: Path) -> str:
    """Tell a file's format from its first bytes.

    Raises:
        InputError: when it is missing, unreadable, empty, or none of PNG, JPEG, TIFF and DICOM.
    """
    return kind_of(path, _head(path))


def kind_of(path: Path, head: bytes) -> str:
    """Tell a format from the first 132 bytes of a file, which ``path`` names in messages.

    Raises:
        InputError: when there are none, or they begin no PNG, JPEG, TIFF or DICOM.
    """
    if not head:
        raise InputError(f"{path}: the file is empty.")
    if head[128:132] == b"DICM":  # first: the preamble of a DICOM file may pose as a TIFF header
        return "dicom"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    raise InputError(f"{path}: is neither PNG, JPEG, TIFF nor DICOM, whatever its name says.")


def _head(path: Path) -> bytes:
    try:
        check_file(path)
        with path.open("rb") as file:
            return file.read(132)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def read(path: str | os.PathLike[str], *, frame: int | None = None) -> Picture:
    """Read a picture with everything needed to write it back.

    Args:
        path: a PNG, JPEG, TIFF or DICOM file; told by content, not by name.
        frame: which frame of a multi-frame DICOM or page of a TIFF, from 0; needed where there are several.

    Returns:
        A :class:`Picture`.

    Raises:
        InputError: when the file is missing, damaged, of another kind, or exceeds the limits of :mod:`privmed.limits`.
        LossError: when reading on would silently lose something, such as transparency.
        MissingDependencyError: for DICOM without its extra.

    Example:
        >>> import torch
        >>> from privmed.imaging import read, write_view
        >>> picture = read(write_view("scan.png", torch.rand(1, 1, 32, 48)))
        >>> picture.format, picture.pixels.dtype, picture.tensor().shape
        ('png', dtype('uint8'), torch.Size([1, 1, 32, 48]))
    """
    path = Path(path)
    kind = sniff(path)
    data = read_bytes(path)
    if kind == "dicom":
        return read_dicom(path, data, frame)
    if kind == "tiff":
        return read_tiff(path, data, frame)
    return read_png(path, data, frame) if kind == "png" else read_jpeg(path, data, frame)


def read_secret(path: str | os.PathLike[str], *, frame: int | None = None, allow_lossy: bool = False) -> Picture:
    """Read a scan that is to be hidden: what travels is its 8-bit view, so one that holds more is refused unless that is allowed.

    Args:
        path: see :func:`read`.
        frame: see :func:`read`.
        allow_lossy: take the 8-bit view of a deeper scan.

    Raises:
        LossError: when the view does not hold the whole picture and ``allow_lossy`` is off.
        InputError, MissingDependencyError: as :func:`read`.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from privmed.imaging import read_secret
        >>> Image.fromarray(np.full((32, 32), 1000, np.uint16)).save("deep.png")
        >>> read_secret("deep.png", allow_lossy=True).beyond_view
        '16 bits a value become the 8 of what is seen'
    """
    picture = read(path, frame=frame)
    if picture.beyond_view and not allow_lossy:
        raise LossError(
            f"{path}: {picture.beyond_view}, so what comes back is not the file. Allow it with --allow-lossy."
        )
    return picture
