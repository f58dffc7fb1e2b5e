"""Writing DICOM: the same bytes where nothing changed, an honest derived image where pixels did, and headers kept apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from privmed.errors import LossError
from privmed.imaging.dicom_identity import Identity, burnt_in
from privmed.imaging.picture import Picture

DERIVATION = "Pixel values changed by privmed"


def write_dicom(picture: Picture, path: Path) -> None:
    """Write the file back: byte for byte if nothing changed, else as a derived image with a UID of its own.

    With an :class:`~privmed.imaging.dicom_identity.Identity` (see :func:`with_identity`) all its UIDs are those of that.
    """
    if not picture.changed:
        path.write_bytes(picture.extra["data"])
        return
    import copy

    dataset = copy.deepcopy(picture.extra["dataset"])
    if not picture.extra.get("restored"):
        _derive(dataset, picture)
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


def with_identity(picture: Picture, identity: Identity | None) -> Picture:
    """A picture that is written with other UIDs, and what else the identity changes, if it is a DICOM picture."""
    if identity is None or picture.format != "dicom":
        return picture
    return evolve(picture, extra={**picture.extra, "identity": identity})


def notes_of(picture: Picture) -> dict[str, str]:
    """What a manifest says of a DICOM picture besides: why names may be burnt into its pixels."""
    seen = burnt_in(picture.extra["dataset"]) if picture.format == "dicom" else ""
    return {"burnt_in": seen} if seen else {}


def _derive(dataset: Any, picture: Picture) -> None:
    """Say that this is a derived image, and of which (PS3.3 C.7.6.1.1.2 and C.12.4)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.uid import generate_uid

    identity: Identity | None = picture.extra.get("identity")
    source = Dataset()
    source.ReferencedSOPClassUID = dataset.get("SOPClassUID", "")
    source.ReferencedSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    if identity is not None:
        dataset.SOPInstanceUID = dataset.get("SOPInstanceUID") or hashlib.sha256(picture.extra["data"]).hexdigest()
        identity.apply(dataset, picture.source)
    dataset.SourceImageSequence = Sequence([source])
    if identity is not None and identity.deidentify:
        del dataset.SourceImageSequence
    dataset.DerivationDescription = DERIVATION
    kind = dataset.get("ImageType") or ["ORIGINAL", "PRIMARY"]
    kind = [kind] if isinstance(kind, str) else list(kind)
    dataset.ImageType = ["DERIVED", *kind[1:]]
    if "IconImageSequence" in dataset:
        del dataset.IconImageSequence  # a small picture of what was there before
    if identity is None:
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
