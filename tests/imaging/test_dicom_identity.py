"""New identities: the same thing gets the same UID wherever it is named, and what is no identity stays."""

import pickle
import re

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian  # noqa: E402

from privmed.errors import InputError  # noqa: E402
from privmed.imaging.dicom_identity import Identity, burnt_in, copy_dicom  # noqa: E402

HERS = "1.2.826.0.1.99.4.1"


def made(**tags) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = HERS
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def test_a_uid_is_well_formed_and_depends_on_the_secret_alone():
    one, two = Identity(b"a"), Identity(b"b")
    for old in (HERS, "1.2", "1." + "2" * 60):
        new = one.uid(old)
        assert re.fullmatch(r"2\.25\.[1-9][0-9]*", new)
        assert len(new) <= 64
        assert pydicom.uid.UID(new).is_valid
        assert new == pickle.loads(pickle.dumps(one)).uid(old)
        assert new != two.uid(old)
    assert len({one.uid(f"1.2.{n}") for n in range(1000)}) == 1000
    assert one.fingerprint != two.fingerprint


def test_instances_are_renamed_at_any_depth_and_kinds_are_kept():
    inner, outer = Dataset(), Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = CTImageStorage, HERS
    outer.ReferencedSOPSequence = Sequence([inner])
    ds = made(StudyInstanceUID="1.2.3", ReferencedSeriesSequence=Sequence([outer]), PatientName="Doe^Jane")
    ds.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # a frame of the standard: the Talairach brain atlas
    ds.RelatedGeneralSOPClassUID = ["1.2.9", "1.2.10"]
    ds.FailedSOPInstanceUIDList = [HERS, "1.2.3"]
    ds.file_meta.ImplementationClassUID = "1.2.7"
    private = ds.private_block(0x0011, "acme", create=True)
    private.add_new(1, "UI", HERS)
    identity = Identity(b"a")
    identity.apply(ds, "a.dcm")
    new = identity.uid(HERS)
    assert ds.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == new
    assert {ds.SOPInstanceUID, ds.file_meta.MediaStorageSOPInstanceUID, ds[0x0011, 0x1001].value} == {new}
    assert list(ds.FailedSOPInstanceUIDList) == [new, identity.uid("1.2.3")]
    assert ds.StudyInstanceUID == identity.uid("1.2.3")
    assert ds.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert list(ds.RelatedGeneralSOPClassUID) == ["1.2.9", "1.2.10"]
    assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert ds.file_meta.ImplementationClassUID == "1.2.7"
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert ds.PatientName == "Doe^Jane"


def test_who_made_and_sent_a_file_is_not_told_when_names_go():
    pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    for deidentify in (False, True):
        ds = made(InstanceCreatorUID="1.2.98.1", CreatorVersionUID="1.2.98.2")
        meta = ds.file_meta
        meta.SourceApplicationEntityTitle = meta.SendingApplicationEntityTitle = "WARD7"
        meta.ReceivingApplicationEntityTitle = "WARD7"
        meta.SourcePresentationAddress = meta.ReceivingPresentationAddress = "ward7.example"
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = "1.2.98.3", b"WARD7 "
        Identity(b"a", deidentify).apply(ds, "a.dcm")
        told = f"{meta}{ds}"
        for word in ("1.2.98", "WARD7", "ward7"):
            assert (word in told) != deidentify, word
        assert ds.SOPClassUID == meta.MediaStorageSOPClassUID == CTImageStorage


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, ""),
        ({"Modality": "CT"}, ""),
        ({"Modality": "CT", "BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES"),
        ({"Modality": "US"}, "ultrasound without BurnedInAnnotation"),
        ({"Modality": "US", "BurnedInAnnotation": ""}, "ultrasound without BurnedInAnnotation"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ""),
        ({"SOPClassUID": pydicom.uid.UltrasoundImageStorage}, "ultrasound without BurnedInAnnotation"),
    ],
)
def test_what_is_said_of_names_in_the_pixels(tags, words):
    assert burnt_in(made(**tags)) == words


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize("deidentify", [False, True])
def test_a_copy_keeps_the_bytes_of_its_pixels(tmp_path, name, deidentify):
    if deidentify:
        pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    copy_dicom(path, tmp_path / "copy.dcm", Identity(b"a", deidentify))
    before, after = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "copy.dcm")
    assert after.PixelData == before.PixelData
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.StudyInstanceUID == Identity(b"a").uid(before.StudyInstanceUID)  # with names and without them
    assert (after.PatientName == before.PatientName) != deidentify
    if not deidentify:
        assert {e.tag for e in before if e.VR not in ("UI", "SQ") and after[e.tag].value != e.value} == set()


def test_what_the_documentation_says_that_stays_does_stay():
    pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    stays = {
        "DeviceSerialNumber": "SN77",
        "PatientAge": "049Y",
        "PatientSex": "F",
        "DetectorID": "D9",
        "AdmissionID": "A1",
    }
    stays |= {"PatientComments": "likes tea", "StudyDescription": "chest", "EthnicGroup": "x", "MedicalAlerts": "none"}
    ds = made(PatientName="Doe^Jane", **stays)
    Identity(b"a", True).apply(ds, "a.dcm")
    assert {name: ds[name].value for name in stays} == stays
    assert ds.PatientName != "Doe^Jane"


def saved(path, ds, syntax=ExplicitVRLittleEndian) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def image(**tags) -> Dataset:
    ds = made(Rows=8, Columns=8, SamplesPerPixel=1, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0)
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = np.arange(64, dtype=np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def report() -> Dataset:
    inner, outer = Dataset(), Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = CTImageStorage, HERS
    outer.ReferencedSOPSequence = Sequence([inner, inner])
    ds = made(PatientName="Doe^Jane", CurrentRequestedProcedureEvidenceSequence=Sequence([outer]))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    return ds


def uncopied(tmp_path, data: bytes, cuts) -> list[int]:
    """The cuts that make a file that is copied all the same."""
    wrong = []
    for kept in cuts:
        (tmp_path / "cut.dcm").write_bytes(data[:kept])
        try:
            copy_dicom(tmp_path / "cut.dcm", tmp_path / "copy.dcm", Identity(b"a"))
        except InputError:
            assert not (tmp_path / "copy.dcm").exists()
        else:
            (tmp_path / "copy.dcm").unlink()
            wrong.append(kept)
    return wrong


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what pydicom reads half
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("kind", [CTImageStorage, pydicom.uid.SegmentationStorage])
def test_an_image_that_is_cut_off_is_not_copied(tmp_path, syntax, kind):
    ds = image(SOPClassUID=kind)
    ds.file_meta.MediaStorageSOPClassUID = kind
    data = saved(tmp_path / "a.dcm", ds, syntax)
    last = len(data)
    # before the pixels there are cuts between elements, too
    assert uncopied(tmp_path, data, [*range(134, last - 128, 2), last - 100, last - 2, last - 1]) == []
    assert uncopied(tmp_path, data, [last]) == [last]


@pytest.mark.parametrize("undefined", [False, True])
def test_a_report_that_is_cut_off_within_an_element_is_not_copied(tmp_path, undefined):
    ds = report()
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
    data = saved(tmp_path / "a.dcm", ds)
    start = data.index(b"\x40\x00\x75\xa3SQ")
    assert uncopied(tmp_path, data, range(start + 1, len(data))) == []
    assert uncopied(tmp_path, data, [len(data)]) == [len(data)]
    assert uncopied(tmp_path, data + bytes(6), [len(data) + 6]) == [len(data) + 6]  # padding


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_compressed_image_without_its_last_fragment_is_not_copied(tmp_path):
    ds = image(PixelData=pydicom.encaps.encapsulate([b"\x01\x02" * 20]))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    data = saved(tmp_path / "a.dcm", ds, pydicom.uid.RLELossless)
    assert uncopied(tmp_path, data, range(len(data) - 60, len(data) - 8)) == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no transfer syntax", "no transfer syntax of the standard"),
        ("a private transfer syntax", "no transfer syntax of the standard"),
        ("empty float pixels", "not all there"),
        ("an image without pixels", "without pixels"),
        ("no rows", "incomplete or damaged"),
    ],
)
def test_what_is_damaged_is_one_sentence(tmp_path, how, words):
    ds = image()
    if how == "empty float pixels":
        del ds.PixelData
        ds.FloatPixelData = None
        ds.BitsAllocated = 32
    elif how == "an image without pixels":
        del ds.PixelData
    elif how == "no rows":
        del ds.Rows
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    data = (tmp_path / "a.dcm").read_bytes()
    tag, value = b"\x02\x00\x10\x00UI", b"\x14\x001.2.840.10008.1.2.1\x00"
    assert tag + value in data
    if how == "no transfer syntax":
        data = data.replace(tag + value, b"\x02\x00\x16\x00AE" + value[:-1] + b" ")
    elif how == "a private transfer syntax":
        data = data.replace(value, b"\x14\x001.2.826.0.1.99.8.100")
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(InputError, match=words):
        copy_dicom(tmp_path / "a.dcm", tmp_path / "copy.dcm", Identity(b"a"))


def test_documents_are_not_de_identified_and_texts_are_told_of(tmp_path):
    pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    ds = made(EncapsulatedDocument=b"%PDF Jane Doe ")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.EncapsulatedPDFStorage
    saved(tmp_path / "a.dcm", ds)
    copy_dicom(tmp_path / "a.dcm", tmp_path / "copy.dcm", Identity(b"a"))
    with pytest.raises(InputError, match="whole document"):
        copy_dicom(tmp_path / "a.dcm", tmp_path / "two.dcm", Identity(b"a", True))
    assert not (tmp_path / "two.dcm").exists()
    ds, said = report(), Dataset()
    assert copy_dicom_of(tmp_path, ds, True) == ""
    said.TextValue = "Jane Doe has a nodule"
    ds.ContentSequence = Sequence([said])
    assert copy_dicom_of(tmp_path, ds, False) == ""  # her name stays everywhere
    assert "free text" in copy_dicom_of(tmp_path, ds, True)


def copy_dicom_of(tmp_path, ds, deidentify) -> str:
    saved(tmp_path / "a.dcm", ds)
    return copy_dicom(tmp_path / "a.dcm", tmp_path / "copy.dcm", Identity(b"a", deidentify))
