"""Whether a DICOM file is all there: pydicom reads one that was cut off without a word, and what is copied is not decoded."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

from privmed.errors import InputError, PrivmedError

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PICTURED = ("SegmentationStorage", "LabelMapSegmentationStorage", "ParametricMapStorage")
"""Keywords of classes that always have pixels, besides those with "Image" in it."""
UNDEFINED = 0xFFFFFFFF
HEADER = 8  # bytes that an element begins with


def check_whole(path: Path, data: bytes, dataset: Any) -> None:
    """Refuse a file that is cut off, as far as that can be told: a cut between two elements shows only where pixels are missing.

    Args:
        path: what errors call it.
        data: all of it.
        dataset: what pydicom made of it; its values are as they were read.

    Raises:
        InputError: when it is, or when its transfer syntax is unknown.
    """
    try:
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if not syntax or syntax.is_private or not syntax.is_transfer_syntax:
            raise InputError(f"{path}: has no transfer syntax of the standard. Convert the file first.")
        _check_elements(path, data, syntax)
        _check_pixels(path, dataset, syntax)
    except PrivmedError:
        raise
    except Exception as error:  # headers can be broken in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: the DICOM header is incomplete or damaged ({reason}).") from error


def _check_elements(path: Path, data: bytes, syntax: Any) -> None:
    """Hold what each element of the top level says of its length against what is there."""
    from pydicom.filereader import data_element_generator, read_dataset, read_preamble

    file = io.BytesIO(data)
    read_preamble(file, False)
    read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if syntax.is_deflated:
        file = io.BytesIO(zlib.decompress(file.read(), -zlib.MAX_WBITS))
    whole = file.getbuffer()
    end = file.tell()
    for element in data_element_generator(file, syntax.is_implicit_VR, syntax.is_little_endian):
        stated = getattr(element, "length", UNDEFINED)
        if stated != UNDEFINED and len(element.value or b"") < stated:
            raise InputError(f"{path}: the DICOM file is cut off in {element.tag}.")
        end = file.tell()
    if any(whole[end:]):  # zeros are padding
        raise InputError(f"{path}: the DICOM file is cut off; its last element has only begun.")


def _check_pixels(path: Path, dataset: Any, syntax: Any) -> None:
    from pydicom.pixels.utils import get_expected_length

    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""
    if "SOPClassUID" not in dataset:
        raise InputError(f"{path}: the DICOM file is cut off or damaged; it does not say what it is.")
    there = [name for name in PIXELS if name in dataset]
    keyword = getattr(kind, "keyword", "")
    if not there and ("Image" in keyword or keyword in PICTURED):
        raise InputError(f"{path}: the DICOM file is cut off or damaged; it is a picture without pixels.")
    if there and not syntax.is_encapsulated and len(dataset[there[0]].value or b"") < get_expected_length(dataset):
        raise InputError(f"{path}: the DICOM file is cut off; its pixels are not all there.")
