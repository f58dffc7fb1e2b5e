"""Reading DICOM: pixels in their stored units, and the chain of PS3.3 C.11 that makes them visible.

Needs ``pip install 'privmed[dicom]'``: pydicom reads and writes, pylibjpeg decodes compressed transfer syntaxes.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from privmed.errors import InputError, MissingDependencyError, PrivmedError
from privmed.imaging.chain import unit_chain
from privmed.imaging.codestream import stated_size
from privmed.imaging.dicom_grey import ends, grey_chain, has_window
from privmed.imaging.dicom_writing import write_dicom
from privmed.imaging.picture import Picture
from privmed.limits import check_area, limits, raise_it

INFLATED = 8  # bytes a pixel that a deflated file may unpack to
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # transfer syntaxes


def read_dicom(path: Path, data: bytes, frame: int | None) -> Picture:
    """Read one frame of a DICOM file.

    Raises:
        MissingDependencyError: when pydicom or the decoder of a transfer syntax is not installed.
        InputError: when there are no pixels, the frame does not exist, or the file is damaged.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError(f"{path}: reading DICOM needs pydicom: pip install 'privmed[dicom]'.") from error
    try:
        _check_deflated(path, data)
        dataset = pydicom.dcmread(io.BytesIO(data), force=False)
    except PrivmedError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(f"{path}: the DICOM file is cut off or damaged ({error}).") from error
    if "PixelData" not in dataset:
        kind = "float pixels" if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset else "no pixels"
        raise InputError(f"{path}: the DICOM file holds {kind}; an image with integer pixels is needed.")
    try:
        return _picture(path, data, dataset, frame)
    except PrivmedError:
        raise
    except Exception as error:  # headers can be broken in any way
        raise InputError(
            f"{path}: the DICOM header is incomplete or damaged ({str(error).splitlines()[0]})."
        ) from error


def _check_deflated(path: Path, data: bytes) -> None:
    """Refuse a deflated file (PS3.5 A.5) that unpacks to much more than the largest image; pydicom unpacks it whole."""
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file = io.BytesIO(data)
    read_preamble(file, False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, rest, count = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while rest and not inflater.eof:
        count += len(inflater.decompress(rest, 2**20))
        rest = inflater.unconsumed_tail
        if count > INFLATED * limits().pixels:
            raise InputError(f"{path}: unpacks to bytes for {count // INFLATED:,} pixels, {raise_it('pixels')}")


def _picture(path: Path, data: bytes, dataset: Any, frame: int | None) -> Picture:
    check_area(path, int(dataset.Rows), int(dataset.Columns))
    samples, allocated = int(dataset.get("SamplesPerPixel", 1)), int(dataset.BitsAllocated)
    if samples not in (1, 3) or allocated not in (1, 8, 16, 32):
        raise InputError(
            f"{path}: says it holds {samples} values a pixel in {allocated} bits, expected 1 or 3 in 8, 16 or 32. Convert it first."
        )
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    index = _frame(path, frames, frame)
    pixels, bits = _decode(path, dataset, index), int(dataset.BitsStored)
    extra = {"dataset": dataset, "data": data}
    lossless = not dataset.file_meta.TransferSyntaxUID.is_encapsulated
    lossy = f"is one of {frames} frames; the others would be lost. Split the file first." if frames > 1 else ""
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        lossy = (
            lossy
            or "is a big-endian DICOM file, which cannot be written back changed. Convert it to little endian first."
        )
    if lossless and _holds_more(dataset):
        lossy = (
            lossy
            or "holds bits above those of its pixels (an old kind of overlay), which would be lost. Remove them first."
        )
    if _is_rounded(dataset):
        lossy = lossy or "is stored in YBR, and changing it would change all pixels a little. Convert it to RGB first."
    chain = grey_chain(dataset, pixels) if pixels.ndim == 2 else unit_chain(pixels.dtype, bits)
    if (
        pixels.ndim == 2
        and bits > 8
        and dataset.PhotometricInterpretation != "PALETTE COLOR"
        and not has_window(dataset)
    ):
        extra["shown"] = ends(dataset, pixels)
    return Picture(pixels, chain, "dicom", bits, write_dicom, path, extra, lossy)


def _is_rounded(dataset: Any) -> bool:
    """Whether RGB was computed from stored YBR values that were not lost before: of a lossy JPEG, RGB is what it stands for."""
    colour = str(dataset.PhotometricInterpretation)
    return colour in ("YBR_FULL", "YBR_FULL_422") and dataset.file_meta.TransferSyntaxUID not in LOSSY_JPEG


def _holds_more(dataset: Any) -> bool:
    """Whether bits above the stored ones are used for anything but the sign."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated not in (8, 16, 32) or stored >= allocated or int(dataset.get("HighBit", stored - 1)) != stored - 1:
        return False
    kind = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    raw = np.frombuffer(
        dataset.PixelData[: len(dataset.PixelData) // (allocated // 8) * (allocated // 8)], f"{kind}u{allocated // 8}"
    )
    above = raw >> stored
    if not above.any():
        return False
    sign = (raw >> (stored - 1)) & 1
    return not (dataset.PixelRepresentation and np.array_equal(above, sign * (2 ** (allocated - stored) - 1)))


def _frame(path: Path, frames: int, frame: int | None) -> int:
    if frame is None and frames > 1:
        raise InputError(
            f"{path}: has {frames} frames. Choose one with --frame (0 to {frames - 1}), or split the file."
        )
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"{path}: has no frame {frame}; there are 0 to {frames - 1}.")
    return frame or 0


def _decode(path: Path, dataset: Any, index: int) -> np.ndarray:
    """Stored values of one frame; YBR becomes RGB."""
    from pydicom.pixels import convert_color_space, get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_frame(path, dataset, index)
    try:
        pixels, meta = (
            get_decoder(syntax).as_array(dataset, index=index, raw=True)
            if syntax.is_encapsulated
            else _native(dataset, index)
        )
    except Exception as error:  # the decoders raise many kinds
        missing = "missing dependencies" in str(error) or isinstance(error, NotImplementedError)
        kind, hint = (MissingDependencyError, " Try: pip install 'privmed[dicom]'.") if missing else (InputError, "")
        raise kind(
            f"{path}: the pixels ({syntax.name}) cannot be decoded ({str(error).splitlines()[0]}).{hint}"
        ) from error
    colour = str(meta.get("photometric_interpretation", dataset.PhotometricInterpretation))
    if pixels.ndim == 3 and colour.startswith("YBR") and colour not in ("YBR_RCT", "YBR_ICT"):
        pixels = convert_color_space(pixels, colour, "RGB")
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _check_frame(path: Path, dataset: Any, index: int) -> None:
    """Refuse a compressed frame whose own header asks for more than the limit, whatever Rows and Columns say."""
    from pydicom.encaps import get_frame

    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    size = stated_size(get_frame(dataset.PixelData, index, number_of_frames=frames))
    if size is not None:
        check_area(path, *size)


def _native(dataset: Any, index: int) -> tuple[np.ndarray, dict[str, Any]]:
    from pydicom.pixels import get_decoder

    return get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, index=index, raw=True)
