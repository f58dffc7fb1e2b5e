"""A tree of DICOM studies, as an archive exports it: two CT slices, an ultrasound, a clip, a report, an index, and a note."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from privmed.cli import run

STUDY, SERIES, FRAME = "1.2.826.0.1.99.1", "1.2.826.0.1.99.2", "1.2.826.0.1.99.3"
SLICES = ("1.2.826.0.1.99.4.1", "1.2.826.0.1.99.4.2")
NAME, NUMBER = "Doe^Jane", "PAT-4711"
CTS = tuple(f"images/jane/ct/{uid}" for uid in SLICES)  # names without an ending, with dots
SCAN, CLIP, REPORT = "images/jane/us.dcm", "images/jane/clip.IMA", "images/jane/report"
INDEX, NOTE = "images/DICOMDIR", "images/jane/note.txt"
RNG = np.random.default_rng(0)


def dataset(kind, uid, **tags) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = kind
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.PatientBirthDate = NAME, NUMBER, "20200102", "19701231"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.StudyID = STUDY, SERIES, "S-0815"
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def pixels(ds: Dataset, stored: np.ndarray, frames: int = 1) -> Dataset:
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 48, 48, 1
    ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 0
    ds.BitsAllocated = 8 * stored.itemsize
    ds.BitsStored, ds.HighBit = ds.BitsAllocated, ds.BitsAllocated - 1
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.PixelData = stored.tobytes()
    ds["PixelData"].VR = "OW" if stored.itemsize > 1 else "OB"
    return ds


def save(path: Path, ds: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def speckle(top: int) -> np.ndarray:
    y, x = np.mgrid[0:48, 0:48] / 48
    return ((0.5 + 0.3 * np.sin(7 * x) * np.cos(5 * y) + 0.05 * RNG.standard_normal((48, 48))).clip(0, 1) * top).round()


def reference(kind, uid) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, uid
    return item


def study_tree(root: Path, *, clip: bool = True) -> Path:
    for name, uid in zip(CTS, SLICES):
        ct = dataset(CTImageStorage, uid, Modality="CT", FrameOfReferenceUID=FRAME, WindowCenter=2000, WindowWidth=4000)
        ct.ReferencedImageSequence = Sequence([reference(CTImageStorage, SLICES[0])])
        save(root / name, pixels(ct, speckle(4095).astype(np.uint16)))
    us = dataset(UltrasoundImageStorage, "1.2.826.0.1.99.5", Modality="US")
    save(root / SCAN, pixels(us, speckle(255).astype(np.uint8)))
    if clip:
        film = dataset(UltrasoundMultiFrameImageStorage, "1.2.826.0.1.99.6", Modality="US", BurnedInAnnotation="YES")
        save(root / CLIP, pixels(film, np.concatenate([speckle(255).astype(np.uint8)] * 2), frames=2))
    report = dataset(BasicTextSRStorage, "1.2.826.0.1.99.7", Modality="SR")
    evidence, series = Dataset(), Dataset()
    evidence.StudyInstanceUID, series.SeriesInstanceUID = STUDY, SERIES
    series.ReferencedSOPSequence = Sequence([reference(CTImageStorage, uid) for uid in SLICES])
    evidence.ReferencedSeriesSequence = Sequence([series])
    report.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence])
    save(root / REPORT, report)
    index = dataset(MediaStorageDirectoryStorage, "1.2.826.0.1.99.8")
    index.DirectoryRecordSequence = Sequence([])
    save(root / INDEX, index)
    (root / NOTE).write_text("seen by the radiologist")
    for name in (*CTS, SCAN):
        mask = root / name.replace("images/", "masks/", 1)
        mask = mask.with_suffix(".png") if mask.suffix == ".dcm" else mask.with_name(f"{mask.name}.png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        truth = np.zeros((48, 48), np.uint8)
        truth[10:30, 12 + name.count("2") : 34] = 255
        Image.fromarray(truth).save(mask)
    return root


def dicom_mask(path: Path, of: str) -> None:
    """A mask as a DICOM file with the patient's name."""
    truth = np.zeros((48, 48), np.uint8)
    truth[10:30, 12:34] = 255
    mask = dataset(SegmentationStorage, "1.2.826.0.1.99.9", Modality="SEG")
    mask.SourceImageSequence = Sequence([reference(CTImageStorage, of)])
    save(path, pixels(mask, truth))


def words(root: Path) -> bytes:
    """All that is written in a folder, names included."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return b"\n".join(data for p in files for data in (p.name.encode(), p.read_bytes()))


NOISE = ["--protector", "noise", "--set", "where=roi"]
UIDS = (STUDY, SERIES, FRAME, *SLICES)


def protect(source, out, *more) -> int:
    return run(["protect", str(source), "-o", str(out), *NOISE, *more])


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def lines(out: Path) -> dict[str, dict]:
    found = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["file"]: line for line in found}


def shared_key(path: Path) -> str:
    assert run(["keygen", "--shared", "-o", str(path), "-q"]) == 0
    return str(path)


def bad_mask(study: Path, how: str) -> str:
    """The mask of the first slice as a DICOM file whose header cannot be changed; its name."""
    name = f"masks/jane/ct/{SLICES[0]}.dcm"
    (study / name).with_suffix(".png").unlink()
    dicom_mask(study / name, SLICES[0])
    if how == "no preamble":
        (study / name).write_bytes((study / name).read_bytes()[132:])
        return name
    ds = pydicom.dcmread(study / name)
    with pydicom.config.disable_value_validation():
        ds.StudyDate = "yesterday"
        ds.save_as(study / name)
    return name
