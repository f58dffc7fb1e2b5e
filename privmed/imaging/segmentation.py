"""A mask as DICOM Segmentation (PS3.3 A.51), beside the scan it belongs to.

Needs ``pip install 'privmed[seg]'``: highdicom writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from privmed.errors import InputError, MissingDependencyError, VerificationError
from privmed.files import whole_file
from privmed.imaging.picture import Picture

LABEL = "Lesion"


def check_described(picture: Picture) -> None:
    """Say before any work that a mask cannot be written as DICOM.

    Raises:
        MissingDependencyError: when highdicom is not installed.
        InputError: when the picture is no DICOM file.
    """
    try:
        import highdicom.seg  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("a mask as DICOM needs highdicom: pip install 'privmed[seg]'.") from error
    if picture.format != "dicom":
        raise InputError(
            f"{picture.source}: is no DICOM file, so its mask has no patient and no study. Leave out --seg and --capture."
        )


def check_segmentable(picture: Picture) -> None:
    """Say before any work that no segmentation of a picture can be written.

    Raises:
        MissingDependencyError: when highdicom is not installed.
        InputError: when the picture is no DICOM file of one frame.
    """
    check_described(picture)
    if int(picture.extra["dataset"].get("NumberOfFrames", 1) or 1) > 1:
        raise InputError(
            f"{picture.source}: has several frames; a segmentation of one needs a file of one. Split the file, or use --capture."
        )


def write_segmentation(path: str | Path, picture: Picture, mask: Tensor, method: str, version: str) -> Path:
    """Write a mask with patient, study and reference of its scan, and read it back.

    Args:
        path: the DICOM file to write.
        picture: the scan, out of a DICOM file.
        mask: (1, 1, H, W), 0 or 1, of the scan's size.
        method: what found it, and with which weights.
        version: of the program.

    Raises:
        InputError: when the scan's header lacks what a segmentation has to tell.
        VerificationError: when the file does not hold the mask.
    """
    check_segmentable(picture)
    pixels = of_mask(mask)
    return write_made(path, picture, pixels, lambda: _segmentation(picture, pixels, method, version))


def of_mask(mask: Tensor) -> np.ndarray:
    """A mask, (1, 1, H, W), as (H, W) bytes of 0 and 1."""
    return (mask[0, 0] > 0.5).cpu().numpy().astype(np.uint8)


def write_made(path: str | Path, picture: Picture, pixels: np.ndarray, make: Callable[[], Any]) -> Path:
    """Write what highdicom makes for a scan, and hold its pixels against those it was made of.

    Raises:
        InputError: when the scan's header lacks what it needs.
        VerificationError: when the file holds other pixels.
    """
    import pydicom

    try:
        made = make()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{picture.source}: its header does not suffice for a mask as DICOM ({reason}).") from error
    with whole_file(path) as temporary:
        made.save_as(temporary, enforce_file_format=True)
        held = pydicom.dcmread(temporary).pixel_array
        if not np.array_equal(np.squeeze(held), pixels):
            raise VerificationError(f"{path}: the file does not hold the mask that was written. Is the disk damaged?")
    return Path(path)


def in_own_series(picture: Picture, after: int, version: str) -> dict[str, Any]:
    """What an object made from a scan says of itself: new, in a series of its own, numbered ``after`` the scan's, by this program."""
    import highdicom as hd

    return {
        "series_instance_uid": hd.UID(),
        "series_number": int(picture.extra["dataset"].get("SeriesNumber") or 0) + after,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "privmed",
        "manufacturer_model_name": "privmed",
        "software_versions": version,
        "device_serial_number": "0",
    }


def _segmentation(picture: Picture, pixels: np.ndarray, method: str, version: str):
    import highdicom as hd
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(method, family=codes.DCM.ArtificialIntelligence, version=version)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    return hd.seg.Segmentation(
        source_images=[picture.extra["dataset"]],
        pixel_array=pixels[None],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        **in_own_series(picture, 1000, version),
        omit_empty_frames=False,
    )
