"""How large a JPEG or JPEG 2000 stream says it is, inside a TIFF or DICOM file whose own header may say something else."""

from __future__ import annotations

import struct

ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame; F7 is that of JPEG-LS
SIZ = b"\xff\x4f\xff\x51"  # of JPEG 2000: start of the stream and its size


def stated_size(data: bytes) -> tuple[int, int] | None:
    """Height and width by the header of a JPEG, JPEG-LS or JPEG 2000 stream, or None when there is no such header.

    A stream of JPEG 2000 may lie in the boxes of a JP2 file.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    at = data.find(SIZ)
    if at < 0 or len(data) < at + 24:
        return None
    width, height, left, top = struct.unpack_from(">4I", data, at + 8)
    return height - top, width - left


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        if marker == 0xFF:  # padding
            at += 1
        elif marker in ALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None
