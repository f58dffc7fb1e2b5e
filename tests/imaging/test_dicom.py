"""DICOM against pydicom's own transforms, on the files that come with pydicom and on made-up ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

from privmed.errors import InputError, LossError, PrivmedError  # noqa: E402
from privmed.imaging import read  # noqa: E402

RNG = np.random.default_rng(0)


def bundled(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    return path


def made(path, pixels, **tags):
    """Write a small DICOM file of given stored values."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.PatientName, ds.Rows, ds.Columns = "Test^Case", *pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.PixelRepresentation = ds.BitsAllocated, int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.HighBit = ds.BitsStored - 1
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def stored():
    return RNG.integers(-1000, 2000, (40, 36)).astype(np.int16)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm"]
)
def test_bundled_grey_files_equal_pydicom(name):
    ds = pydicom.dcmread(bundled(name))
    picture = read(bundled(name))
    np.testing.assert_array_equal(picture.pixels, ds.pixel_array)
    seen = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds, index=0).astype(float)
    mine = picture.tensor()[0, 0].double().numpy()
    inside = (mine > 0) & (mine < 1)
    assert inside.any()
    assert np.corrcoef(seen[inside], mine[inside])[0, 1] > 0.9999


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "examples_ybr_color.dcm",
        "SC_rgb_rle_16bit.dcm",
    ],
)
def test_bundled_colour_files_are_rgb(name):
    path = bundled(name)
    ds = pydicom.dcmread(path)
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    picture = read(path, frame=0)
    theirs = ds.pixel_array if frames == 1 else ds.pixel_array[0]
    np.testing.assert_array_equal(picture.pixels, theirs)
    assert picture.tensor().shape[1] == 3


def test_palette_colours_equal_pydicom():
    path = bundled("examples_palette.dcm")
    ds = pydicom.dcmread(path)
    rgb = apply_color_lut(ds.pixel_array, ds)
    np.testing.assert_allclose(read(path).tensor()[0].permute(1, 2, 0), rgb / np.iinfo(rgb.dtype).max, atol=1e-6)
    with pytest.raises(LossError, match="palette indices"):
        read(path).with_view(torch.zeros_like(read(path).tensor()))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_equal_pydicom(tmp_path, stored, function):
    tags = {
        "RescaleSlope": 2,
        "RescaleIntercept": -1024,
        "WindowCenter": [40, 600],
        "WindowWidth": [400, 1500],
        "VOILUTFunction": function,
    }
    path = made(tmp_path / "x.dcm", stored, **tags)
    ds = pydicom.dcmread(path)
    hu = apply_modality_lut(stored, ds)
    theirs = apply_voi_lut(hu, ds, index=0)
    low, high = (float(v) for v in (hu.dtype.type(-32768 * 2 - 1024), 32767 * 2 - 1024))
    np.testing.assert_allclose(read(path).tensor()[0, 0], (theirs - low) / (high - low), atol=2e-4)


def test_voi_and_modality_tables_equal_pydicom(tmp_path):
    stored = RNG.integers(0, 256, (40, 36)).astype(np.uint16)

    def table(entries, first, bits):
        item = Dataset()
        item.LUTDescriptor = [len(entries), first, bits]
        item.add_new(0x00283006, "US", [int(e) for e in entries])
        return Sequence([item])

    modality, voi = np.arange(256) * 3 + 100, (np.linspace(0, 1, 700) ** 2 * 4095).astype(int)
    path = made(
        tmp_path / "x.dcm",
        stored,
        ModalityLUTSequence=table(modality, 0, 16),
        VOILUTSequence=table(voi, 100, 12),
        BitsStored=8,
    )
    ds = pydicom.dcmread(path)
    theirs = apply_voi_lut(apply_modality_lut(stored, ds), ds)
    np.testing.assert_allclose(read(path).tensor()[0, 0], theirs / 4095, atol=1e-6)


def test_monochrome1_is_inverted(tmp_path):
    stored = RNG.integers(0, 4096, (40, 36)).astype(np.uint16)
    plain = read(made(tmp_path / "a.dcm", stored, BitsStored=12)).tensor()
    inverted = read(made(tmp_path / "b.dcm", stored, BitsStored=12, PhotometricInterpretation="MONOCHROME1")).tensor()
    torch.testing.assert_close(inverted, 1 - plain)
    assert plain.max() <= 1
    low, high = stored.min(), stored.max()
    np.testing.assert_allclose(plain[0, 0], (stored - low.astype(float)) / (high - low), atol=1e-6)


def test_changed_file_is_an_honest_derivative(tmp_path, stored):
    path = made(tmp_path / "x.dcm", stored, RescaleIntercept=-1024, RescaleSlope=1, WindowCenter=40, WindowWidth=400)
    before = pydicom.dcmread(path)
    picture = read(path)
    view = picture.tensor()
    row, column = np.argwhere((view[0, 0].numpy() > 0.2) & (view[0, 0].numpy() < 0.8))[0]
    view[0, 0, row, column] += 20 / 399
    picture.with_view(view).save(tmp_path / "y.dcm")
    after = pydicom.dcmread(tmp_path / "y.dcm")
    difference = after.pixel_array.astype(int) - stored
    assert difference[row, column] == 20
    assert np.count_nonzero(difference) == 1
    assert after.PatientName == before.PatientName
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert after.ImageType[0] == "DERIVED"
    assert after.DerivationDescription
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID


def test_unchanged_file_is_the_same_file(tmp_path, stored):
    path = made(tmp_path / "x.dcm", stored)
    read(path).save(tmp_path / "y.dcm")
    assert (tmp_path / "y.dcm").read_bytes() == path.read_bytes()


def test_changed_colour_and_compressed_files_can_be_read_back(tmp_path):
    for name in ("SC_rgb_rle.dcm", "MR_small_RLE.dcm"):
        picture = read(bundled(name))
        changed = picture.with_view((picture.tensor() * 0.5 + 0.25).clamp(0, 1))
        again = read(changed.save(tmp_path / name))
        np.testing.assert_array_equal(again.pixels, changed.pixels)


def test_frames_must_be_chosen():
    path = bundled("examples_ybr_color.dcm")
    frames = int(pydicom.dcmread(path).NumberOfFrames)
    with pytest.raises(InputError, match=f"has {frames} frames"):
        read(path)
    assert not np.array_equal(read(path, frame=0).pixels, read(path, frame=frames - 1).pixels)


def test_no_pixels_and_damage_are_told(tmp_path, stored):
    path = made(tmp_path / "x.dcm", stored)
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(tmp_path / "none.dcm")
    with pytest.raises(InputError, match="holds no pixels"):
        read(tmp_path / "none.dcm")
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read(tmp_path / "cut.dcm")


def test_every_bundled_file_is_read_as_pydicom_does_or_answered_in_a_sentence():
    """Dozens of syntaxes, colours and kinds of damage: equal pixels, or one of our errors, and never anything else."""
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    seen = 0
    for path in sorted(folder.glob("*.dcm")):
        try:
            picture = read(path, frame=0)
        except PrivmedError as error:
            assert path.name in str(error)
            continue
        theirs = pydicom.dcmread(path).pixel_array
        np.testing.assert_array_equal(picture.pixels, theirs if theirs.shape == picture.pixels.shape else theirs[0])
        seen += 1
    assert seen > 20


@pytest.mark.parametrize("colour", ["YBR_FULL", "RGB"])
def test_stored_ybr_is_not_changed_as_its_rgb_is_rounded(tmp_path, colour):
    """What is written back would differ from what was stored in all pixels."""
    values = RNG.integers(0, 256, (40, 36, 3)).astype(np.uint8)
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": colour, "PlanarConfiguration": 0}
    picture = read(made(tmp_path / "x.dcm", values, **tags))
    changed = picture.tensor() * 0.5 + 0.2
    if colour == "RGB":
        picture.with_view(changed).save(tmp_path / "y.dcm")
    else:
        with pytest.raises(LossError, match="is stored in YBR"):
            picture.with_view(changed).save(tmp_path / "y.dcm")


def test_big_endian_files_are_not_changed(tmp_path):
    picture = read(bundled("MR_small_bigendian.dcm"))
    with pytest.raises(LossError, match="big-endian"):
        picture.with_view(picture.tensor() * 0.5 + 0.2).save(tmp_path / "x.dcm")
    assert not list(tmp_path.iterdir())


def test_a_deep_image_without_a_window_is_shown_from_its_darkest_to_its_brightest(tmp_path, stored):
    seen = read(made(tmp_path / "x.dcm", stored)).tensor()
    assert seen.min() == 0
    assert seen.max() == 1


def test_padding_does_not_count_for_what_is_shown(tmp_path):
    values = RNG.integers(1000, 1200, (40, 36)).astype(np.int16)
    values[:10] = -2048
    picture = read(made(tmp_path / "x.dcm", values, PixelPaddingValue=-2048))
    seen = picture.tensor()[0, 0, 10:]
    assert seen.min() == 0
    assert seen.max() == 1


@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": 0.5, "RescaleIntercept": -10}, {"PixelPaddingValue": -1000}])
def test_a_change_of_the_brightest_pixel_does_not_change_how_the_others_are_seen(tmp_path, stored, tags):
    stored[5, 5] = 9000
    picture = read(made(tmp_path / "x.dcm", stored, **tags))
    view = picture.tensor()
    changed = view.clone()
    changed[..., 4:7, 4:7] = 0.2
    picture.with_view(changed).save(tmp_path / "y.dcm")
    again = read(tmp_path / "y.dcm").tensor()
    outside = torch.ones(40, 36, dtype=torch.bool)
    outside[4:7, 4:7] = False
    assert torch.allclose(again[0, 0][outside], view[0, 0][outside], atol=1e-6)
    assert (again[0, 0, 4:7, 4:7] - 0.2).abs().max() < 1e-3


def test_a_derived_file_shows_no_picture_of_its_source(tmp_path, stored):
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = b"abcd"
    path = made(tmp_path / "x.dcm", stored, IconImageSequence=[icon], ImageType="ORIGINAL")
    picture = read(path)
    picture.with_view(picture.tensor() * 0.5).save(tmp_path / "y.dcm")
    after = pydicom.dcmread(tmp_path / "y.dcm")
    assert "IconImageSequence" not in after
    assert after.ImageType == "DERIVED"


def test_bits_above_the_pixels_are_not_lost_in_silence(tmp_path):
    values = RNG.integers(0, 4096, (40, 36)).astype(np.uint16)
    values[3, 3] |= 0x1000
    picture = read(made(tmp_path / "x.dcm", values, BitsStored=12))
    with pytest.raises(LossError, match="bits above"):
        picture.with_view(picture.tensor() * 0.5).save(tmp_path / "y.dcm")
    signed = RNG.integers(-2048, 2048, (40, 36)).astype(np.int16)
    picture = read(made(tmp_path / "z.dcm", signed, BitsStored=12))
    assert picture.with_view(picture.tensor() * 0.5).save(tmp_path / "w.dcm").is_file()
