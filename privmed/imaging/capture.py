"""A mask as DICOM secondary capture (PS3.3 A.8): for what shows no segmentations, and for one frame of several.

Needs ``pip install 'privmed[seg]'``: highdicom writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from privmed.imaging.picture import Picture
from privmed.imaging.segmentation import check_described, in_own_series, of_mask, write_made

DESCRIPTION = "Lesion mask, white; not for measurement"


def write_capture(
    path: str | Path, picture: Picture, mask: Tensor, method: str, version: str, *, frame: int | None = None
) -> Path:
    """Write a mask as an 8-bit picture with patient, study and reference of its scan, and read it back.

    Args:
        path: the DICOM file to write.
        picture: the scan, out of a DICOM file.
        mask: (1, 1, H, W), 0 or 1, of the scan's size; it is written as 0 and 255.
        method: what found it, and with which weights.
        version: of the program.
        frame: which frame of the scan it belongs to, from 0, where there are several.

    Raises:
        MissingDependencyError: when highdicom is not installed.
        InputError: when the picture is no DICOM file, or its header lacks its study.
        VerificationError: when the file does not hold the mask.
    """
    check_described(picture)
    pixels = of_mask(mask) * np.uint8(255)
    return write_made(path, picture, pixels, lambda: _capture(picture, pixels, method, version, frame))


def _capture(picture: Picture, pixels: np.ndarray, method: str, version: str, frame: int | None) -> Any:
    import highdicom as hd
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    scan = picture.extra["dataset"]
    made = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=scan,
        pixel_array=pixels,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # highdicom asks for one; that of the scan stands below
        **in_own_series(picture, 1001, version),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    made.PatientOrientation = scan.get("PatientOrientation") or None  # unknown is empty
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = scan.SOPClassUID, scan.SOPInstanceUID
    if int(scan.get("NumberOfFrames", 1) or 1) > 1:
        source.ReferencedFrameNumber = (frame or 0) + 1
    made.SourceImageSequence = Sequence([source])
    made.SeriesDescription, made.DerivationDescription = DESCRIPTION, f"Found by {method}"
    made.BurnedInAnnotation = "NO"
    return made
