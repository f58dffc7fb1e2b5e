"""What a TIFF says of itself, held against our limits and its own bytes before anything is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from privmed.errors import InputError
from privmed.imaging.codestream import stated_size
from privmed.limits import check_area

BOUNDED = ("NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "LZMA", "ZSTD")  # unpack to what the tags say
WITH_HEADER = ("JPEG", "JPEG2000", "APERIO_JP2000_RGB", "JPEG_2000_LOSSY")  # unpack to what their own header says


def check_chain(path: Path, data: bytes) -> None:
    """Refuse a TIFF whose pages form a ring, which readers would walk for ever.

    Raises:
        InputError: for such a file.
        struct.error: for one that is cut off.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count_of, entry, offset_of, first = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
    seen: set[int] = set()
    (at,) = struct.unpack_from(order + offset_of, data, first)
    while at and at < len(data):
        if at in seen:
            raise InputError(f"{path}: the TIFF is damaged (its pages form a ring).")
        seen.add(at)
        (count,) = struct.unpack_from(order + count_of, data, at)
        end = at + struct.calcsize("=" + count_of) + count * entry
        if end + struct.calcsize("=" + offset_of) > len(data):
            return  # the reader will say that this page is cut off
        (at,) = struct.unpack_from(order + offset_of, data, end)


def check_page(path: Path, file: Any, page: Any) -> None:
    """Refuse a page that cannot be read exactly, or whose tags describe more than it holds or than the limits allow.

    Raises:
        InputError: in one sentence.
    """
    check_area(path, page.imagelength, page.imagewidth)
    if page.is_tiled:
        check_area(path, page.tilelength, page.tilewidth)
    photometric, depth, packing = page.photometric.name, page.bitspersample, page.compression.name
    if photometric not in ("MINISBLACK", "MINISWHITE", "RGB") or page.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: is a {photometric} TIFF of {page.dtype}. Convert it to 8- or 16-bit grey or RGB first."
        )
    if depth != 8 * page.dtype.itemsize:
        raise InputError(f"{path}: is a TIFF of {depth} bits a value. Convert it to 8 or 16 bits first.")
    if page.samplesperpixel > 4 or page.imagedepth > 1:
        raise InputError(
            f"{path}: is a TIFF of {page.samplesperpixel} values a pixel and {page.imagedepth} planes. Convert it to grey or RGB first."
        )
    if packing == "NONE" and page.size * depth > 8 * sum(page.databytecounts):
        said = f"{page.imagewidth} x {page.imagelength}"
        raise InputError(f"{path}: the TIFF is cut off or damaged (it says {said} pixels, and holds fewer).")
    if packing in WITH_HEADER:
        _check_parts(path, file, page)
    elif packing not in BOUNDED:
        raise InputError(f"{path}: is a TIFF packed with {packing}. Save it unpacked, or with LZW or deflate, first.")


def _check_parts(path: Path, file: Any, page: Any) -> None:
    """The strips or tiles of a page that have a header of their own."""
    for start, length in zip(page.dataoffsets, page.databytecounts):
        file.filehandle.seek(start)
        size = stated_size(file.filehandle.read(length))
        if size is None:
            raise InputError(f"{path}: the TIFF is cut off or damaged (a part of it has no header).")
        check_area(path, *size)
