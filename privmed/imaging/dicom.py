"""DICOM: pixels in their stored units, the chain of PS3.3 C.11 that makes them visible, and an honest derived file.

Needs ``pip install 'privmed[dicom]'``: pydicom reads and writes, pylibjpeg decodes compressed transfer syntaxes.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from privmed.errors import InputError, LossError, MissingDependencyError, PrivmedError
from privmed.imaging.chain import Chain, Clip, Linear, Palette, Sigmoid, Step, Table, unit_chain
from privmed.imaging.codestream import stated_size
from privmed.imaging.picture import Picture
from privmed.limits import check_area, limits, raise_it

INFLATED = 8  # bytes a pixel that a deflated file may unpack to
DERIVATION = "Pixel values changed by privmed"


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
    chain = grey_chain(dataset, pixels) if pixels.ndim == 2 else unit_chain(pixels.dtype, bits)
    if (
        pixels.ndim == 2
        and bits > 8
        and dataset.PhotometricInterpretation != "PALETTE COLOR"
        and not _has_window(dataset)
    ):
        extra["shown"] = _ends(dataset, pixels)
    return Picture(pixels, chain, "dicom", bits, write_dicom, path, extra, lossy)


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
    steps: list[Step] = [*modality, *_voi(dataset, *_ends(dataset, pixels))]
    if photometric == "MONOCHROME1":
        steps.append(Linear(-1.0, 1.0))
    return Chain(tuple(steps), low, high)


def _ends(dataset: Any, pixels: np.ndarray) -> tuple[float, float]:
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


def _has_window(dataset: Any) -> bool:
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


def write_dicom(picture: Picture, path: Path) -> None:
    """Write the file back: byte for byte if nothing changed, else as a derived image with a UID of its own."""
    if not picture.changed:
        path.write_bytes(picture.extra["data"])
        return
    import copy

    dataset = copy.deepcopy(picture.extra["dataset"])
    if not picture.extra.get("restored"):
        _derive(dataset)
        _keep_window(dataset, picture)
    _put_pixels(dataset, picture)
    try:
        dataset.save_as(path, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:  # a damaged header that could be read, but not written
        reason = str(error).splitlines()[0]
        raise LossError(
            f"{picture.source}: its header cannot be written back ({reason}). Repair the file first."
        ) from error


def _keep_window(dataset: Any, picture: Picture) -> None:
    """Say what a deep image without a window is shown from and to, which changed pixels must not change (PS3.3 C.11.2.1.3.2)."""
    if "shown" not in picture.extra:
        return
    low, high = picture.extra["shown"]
    dataset.WindowCenter, dataset.WindowWidth = (f"{x:.10g}" for x in ((low + high) / 2, high - low))
    dataset.VOILUTFunction = "LINEAR_EXACT"


def header_of(picture: Picture) -> bytes:
    """All tags of a DICOM picture but its pixels, as a file."""
    import copy
    from io import BytesIO

    dataset = copy.deepcopy(picture.extra["dataset"])
    if "PixelData" in dataset:
        del dataset.PixelData
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def with_header(picture: Picture, header: bytes) -> Picture:
    """A DICOM picture with the tags that :func:`header_of` kept; it is written with them as they are."""
    from io import BytesIO

    import pydicom

    dataset = pydicom.dcmread(BytesIO(header))
    return evolve(picture, extra={**picture.extra, "dataset": dataset, "restored": True}, changed=True)


def _derive(dataset: Any) -> None:
    """Say that this is a derived image, and of which (PS3.3 C.7.6.1.1.2 and C.12.4)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.uid import generate_uid

    source = Dataset()
    source.ReferencedSOPClassUID = dataset.get("SOPClassUID", "")
    source.ReferencedSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    dataset.SourceImageSequence = Sequence([source])
    dataset.DerivationDescription = DERIVATION
    kind = dataset.get("ImageType") or ["ORIGINAL", "PRIMARY"]
    kind = [kind] if isinstance(kind, str) else list(kind)
    dataset.ImageType = ["DERIVED", *kind[1:]]
    if "IconImageSequence" in dataset:
        del dataset.IconImageSequence  # a small picture of what was there before
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _put_pixels(dataset: Any, picture: Picture) -> None:
    """Store pixels uncompressed, in the depth they came in."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    pixels = picture.pixels
    if dataset.file_meta.TransferSyntaxUID not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if pixels.ndim == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    if pixels.dtype.itemsize * 8 != dataset.BitsAllocated:
        raise LossError(
            f"{picture.source}: {dataset.BitsAllocated} allocated bits cannot be written back. Convert the file first."
        )
    dataset.PixelData = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"))).tobytes()
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    for word in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if word in dataset and not picture.extra.get("restored"):
            del dataset[word]
