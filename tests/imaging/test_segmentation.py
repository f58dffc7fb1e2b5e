"""A mask as DICOM SEG: the pixels, the patient and the reference are those of the scan."""

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.cli import run
from privmed.errors import InputError, VerificationError
from privmed.imaging import read
from privmed.imaging.capture import write_capture
from privmed.imaging.segmentation import write_segmentation

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
pytest.importorskip("highdicom", reason="needs privmed[seg]")


@pytest.fixture
def scan():
    from pydicom.data import get_testdata_file

    return get_testdata_file("CT_small.dcm", download=False)


def mask_of(picture):
    mask = torch.zeros(1, 1, *picture.size)
    mask[..., 5:20, 7:9] = 1
    return mask


@pytest.mark.parametrize("empty", [False, True])
def test_a_segmentation_belongs_to_its_scan(tmp_path, scan, empty):
    picture = read(scan)
    mask = mask_of(picture) * (not empty)
    held = pydicom.dcmread(write_segmentation(tmp_path / "mask.dcm", picture, mask, "toy (1234)", "1.0"))
    source = pydicom.dcmread(scan)
    assert held.SOPClassUID.name == "Segmentation Storage"
    assert np.array_equal(np.squeeze(held.pixel_array), mask[0, 0].numpy())
    for tag in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert held[tag].value == source[tag].value
    assert held.SOPInstanceUID != source.SOPInstanceUID
    assert held.SeriesInstanceUID != source.SeriesInstanceUID
    series = held.ReferencedSeriesSequence[0]
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert held.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "toy (1234)"


def test_what_cannot_be_told_is_an_error_and_no_file(tmp_path, scan, monkeypatch):
    picture = read(scan)
    del picture.extra["dataset"].StudyInstanceUID
    with pytest.raises(InputError, match="StudyInstanceUID"):
        write_segmentation(tmp_path / "mask.dcm", picture, mask_of(picture), "toy", "1.0")
    whole = read(scan)
    monkeypatch.setattr(pydicom, "dcmread", lambda _: types.SimpleNamespace(pixel_array=np.zeros(whole.size)))
    with pytest.raises(VerificationError):
        write_segmentation(tmp_path / "mask.dcm", whole, mask_of(whole), "toy", "1.0")
    assert list(tmp_path.iterdir()) == []


def test_covert_refuses_before_it_works(tmp_path, capsys, monkeypatch):
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "scan.png")
    arguments = ["covert", str(tmp_path / "scan.png"), str(tmp_path / "scan.png"), "-o", str(tmp_path / "out"), "--seg"]
    assert run(arguments) == 3
    assert "no DICOM file" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "highdicom.seg", None)
    assert run(arguments) == 2
    assert "pip install 'privmed[seg]'" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["scan.png"]


def test_covert_writes_what_the_mask_shows(tmp_path, scan, capsys):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    Image.effect_noise((64, 64), 40).resize((200, 200)).convert("RGB").save(tmp_path / "photo.png")
    out = tmp_path / "out"
    arguments = [
        "covert",
        scan,
        str(tmp_path / "photo.png"),
        "-o",
        str(out),
        "--seg",
        "--capture",
        "--allow-lossy",
        "--use",
        "view",
        "-q",
    ]
    assert run(arguments) == 0
    held = np.squeeze(pydicom.dcmread(out / "mask.dcm").pixel_array)
    assert np.array_equal(held * 255, np.asarray(Image.open(out / "mask.png")))
    capture = pydicom.dcmread(out / "capture.dcm").pixel_array
    assert np.array_equal(capture, np.asarray(Image.open(out / "mask.png")))


class TestCapture:
    def test_a_capture_belongs_to_its_scan(self, tmp_path, scan):
        picture = read(scan)
        mask = mask_of(picture)
        held = pydicom.dcmread(write_capture(tmp_path / "capture.dcm", picture, mask, "toy (1234)", "1.0"))
        source = pydicom.dcmread(scan)
        assert held.SOPClassUID.name == "Secondary Capture Image Storage"
        assert np.array_equal(held.pixel_array, mask[0, 0].numpy() * 255)
        for tag in ("PatientID", "PatientName", "StudyInstanceUID"):
            assert held[tag].value == source[tag].value
        assert held.SeriesInstanceUID != source.SeriesInstanceUID
        assert held.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert "ReferencedFrameNumber" not in held.SourceImageSequence[0]
        assert "toy (1234)" in held.DerivationDescription
        assert not held.PatientOrientation  # the scan does not say it

    def test_one_frame_of_several_has_a_capture_and_no_segmentation(self, tmp_path, scan):
        ds = pydicom.dcmread(scan)
        ds.NumberOfFrames, ds.PixelData, ds.PatientOrientation = 3, ds.PixelData * 3, ["A", "F"]
        ds.save_as(tmp_path / "film.dcm")
        picture = read(tmp_path / "film.dcm", frame=1)
        with pytest.raises(InputError, match="--capture"):
            write_segmentation(tmp_path / "mask.dcm", picture, mask_of(picture), "toy", "1.0")
        path = write_capture(tmp_path / "capture.dcm", picture, mask_of(picture), "toy", "1.0", frame=1)
        held = pydicom.dcmread(path)
        assert held.SourceImageSequence[0].ReferencedFrameNumber == 2
        assert held.PatientOrientation == ["A", "F"]

    def test_what_cannot_be_told_is_an_error_and_no_file(self, tmp_path, scan):
        picture = read(scan)
        del picture.extra["dataset"].StudyInstanceUID
        with pytest.raises(InputError, match="StudyInstanceUID"):
            write_capture(tmp_path / "capture.dcm", picture, mask_of(picture), "toy", "1.0")
        assert list(tmp_path.iterdir()) == []
