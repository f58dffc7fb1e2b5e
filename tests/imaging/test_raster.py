"""PNG, JPEG and TIFF: nothing lost, nothing silent."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image

from privmed.errors import InputError, LossError, OutputError
from privmed.imaging import read
from privmed.imaging.wire import to_bytes

RNG = np.random.default_rng(0)


def pixels(shape, dtype):
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(33, 47), (33, 47, 3)])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_every_depth_is_read_exactly_and_written_back(tmp_path, kind, shape, dtype):
    """Pillow would open the deep colour PNG as 8 bits and clip the deep grey one."""
    x = pixels(shape, dtype)
    path = tmp_path / f"x.{kind}"
    if kind == "png":
        path.write_bytes(imagecodecs.png_encode(x))
    else:
        tifffile.imwrite(path, x, photometric="rgb" if x.ndim == 3 else "minisblack")
    picture = read(path)
    assert picture.bits == 8 * x.dtype.itemsize
    np.testing.assert_array_equal(picture.pixels, x)
    top = np.iinfo(dtype).max
    assert picture.tensor().shape == (1, 3 if x.ndim == 3 else 1, 33, 47)
    np.testing.assert_allclose(
        picture.tensor()[0].double().numpy().squeeze(),
        np.moveaxis(x, -1, 0) / top if x.ndim == 3 else x / top,
        atol=1e-6,
    )
    again = read(picture.save(tmp_path / f"y.{kind}"))
    np.testing.assert_array_equal(again.pixels, x)
    assert again.pixels.dtype == x.dtype


def test_residual_moves_deep_pixels_in_their_own_units(tmp_path):
    x = pixels((40, 40), np.uint16) // 2 + 1000
    path = tmp_path / "x.png"
    path.write_bytes(imagecodecs.png_encode(x))
    picture = read(path)
    view = picture.tensor()
    view[..., 5, 7] += 100 / 65535
    changed = picture.with_view(view)
    difference = changed.pixels.astype(int) - x
    assert difference[5, 7] == 100
    assert np.count_nonzero(difference) == 1
    assert picture.with_view(picture.tensor()) is picture


def test_opaque_alpha_is_kept_and_a_telling_one_refused(tmp_path):
    x = np.concatenate([pixels((32, 32, 3), np.uint8), np.full((32, 32, 1), 255, np.uint8)], 2)
    opaque, clear = tmp_path / "opaque.png", tmp_path / "clear.png"
    Image.fromarray(x).save(opaque)
    read(opaque).save(tmp_path / "again.png")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "again.png")), x)
    x[3, 3, 3] = 254
    Image.fromarray(x).save(clear)
    with pytest.raises(LossError, match=r"clear\.png: has transparent pixels"):
        read(clear)


def test_palette_is_seen_in_its_colours(tmp_path):
    image = Image.fromarray(pixels((32, 32, 3), np.uint8)).quantize(16)
    image.save(tmp_path / "p.png")
    picture = read(tmp_path / "p.png")
    np.testing.assert_array_equal(to_bytes(picture.tensor()), np.array(image.convert("RGB")))
    with pytest.raises(LossError, match="palette indices"):
        picture.with_view(picture.tensor() * 0.5)


def test_jpeg_cannot_keep_a_change(tmp_path):
    Image.fromarray(pixels((32, 32, 3), np.uint8)).save(tmp_path / "x.jpg")
    picture = read(tmp_path / "x.jpg")
    picture.save(tmp_path / "same.jpg")
    assert (tmp_path / "same.jpg").read_bytes() == (tmp_path / "x.jpg").read_bytes()
    with pytest.raises(LossError, match="cannot keep changed pixels"):
        picture.with_view(1 - picture.tensor()).save(tmp_path / "y.jpg")
    assert not (tmp_path / "y.jpg").exists()


def test_jpeg_is_turned_upright(tmp_path):
    image = Image.fromarray(pixels((32, 48, 3), np.uint8))
    exif = image.getexif()
    exif[274] = 6  # orientation: turn by 90 degrees
    image.save(tmp_path / "x.jpg", exif=exif)
    assert read(tmp_path / "x.jpg").size == (48, 32)


def test_cmyk_is_refused(tmp_path):
    Image.new("CMYK", (40, 40)).save(tmp_path / "c.jpg")
    with pytest.raises(InputError, match="is a CMYK JPEG"):
        read(tmp_path / "c.jpg")


def test_pages_must_be_chosen(tmp_path):
    x = pixels((3, 32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="minisblack")
    with pytest.raises(InputError, match="has 3 pages"):
        read(tmp_path / "x.tif")
    picture = read(tmp_path / "x.tif", frame=1)
    np.testing.assert_array_equal(picture.pixels, x[1])
    with pytest.raises(LossError, match="one of 3 pages"):
        picture.with_view(1 - picture.tensor()).save(tmp_path / "y.tif")
    with pytest.raises(InputError, match="has no frame 7"):
        read(tmp_path / "x.tif", frame=7)


def test_white_is_zero_in_miniswhite(tmp_path):
    x = pixels((32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="miniswhite")
    np.testing.assert_array_equal(to_bytes(read(tmp_path / "x.tif").tensor()), 255 - x)


def test_float_tiff_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.full((32, 32), np.nan, np.float32))
    with pytest.raises(InputError, match="TIFF of float32"):
        read(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
@pytest.mark.parametrize("keep", [12, 40, 0.5, 0.95])
def test_truncated_files_are_told(tmp_path, kind, keep):
    whole = tmp_path / f"whole.{kind}"
    Image.fromarray(pixels((64, 64, 3), np.uint8)).save(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(InputError, match=rf"cut\.{kind}"):
        read(cut)


def test_missing_empty_folder_and_wrong_type(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture " * 40)
    for name, words in (
        ("none.png", "no such file"),
        ("empty.png", "is empty"),
        ("text.png", "neither PNG"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=words):
            read(tmp_path / name)


def test_bomb_is_refused_unread(tmp_path):
    data = bytearray(imagecodecs.png_encode(pixels((32, 32), np.uint8)))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="60000 x 60000 = 3,600,000,000 pixels, more than the limit of 100,000,000"):
        read(tmp_path / "bomb.png")


def test_one_pixel_is_a_picture(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png").tensor().shape == (1, 1, 1, 1)


def test_unchanged_output_is_not_overwritten(tmp_path):
    Image.new("L", (40, 40)).save(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        read(tmp_path / "x.png").save(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes() == before
    assert torch.equal(read(tmp_path / "x.png").tensor(), torch.zeros(1, 1, 40, 40))


def test_a_tiff_of_twelve_bits_is_not_read_as_nearly_black(tmp_path):
    values = np.full((40, 40), 0xFFF, np.uint16)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, values, photometric="minisblack", bitspersample=12)
    with pytest.raises(InputError, match="12 bits a value"):
        read(path)


def test_a_turned_tiff_is_refused(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((40, 48), np.uint8), photometric="minisblack", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(InputError, match="turned or mirrored"):
        read(path)


def test_a_planar_tiff_and_a_description_in_any_script_are_kept(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (3, 40, 48), dtype=np.uint8)
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path, values, photometric="rgb", planarconfig="separate", description="0.1 µm".encode(), metadata=None
    )
    picture = read(path)
    assert np.array_equal(picture.pixels, np.moveaxis(values, 0, 2))
    changed = picture.with_view((picture.tensor() * 0.5).clamp(0, 1))
    changed.save(tmp_path / "y.tif")
    assert "0.1" in read(tmp_path / "y.tif").extra["description"]


def test_bytes_behind_the_end_of_a_png_do_not_make_it_cut_off(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(path)
    path.write_bytes(path.read_bytes() + b"twenty bytes more...")
    assert read(path).size == (40, 40)


def png_of(kind, pixels, *chunks):
    """A PNG of 8 bits with these chunks before its pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("colours", [0, 2, 3])
def test_a_palette_that_lacks_colours_of_the_pixels_is_damage(tmp_path, colours):
    palette = [(b"PLTE", bytes(range(0, 60 * colours, 20)))] if colours else []
    path = tmp_path / "x.png"
    path.write_bytes(png_of(3, np.arange(6, dtype=np.uint8).reshape(2, 3) % 3, *palette))
    if colours == 3:
        assert read(path).tensor().shape == (1, 3, 2, 3)
    else:
        with pytest.raises(InputError, match=r"x\.png: the PNG is damaged .*palette"):
            read(path)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff" + bytes(500)])
def test_what_only_begins_as_a_jpeg_is_damage(tmp_path, data):
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.jpg: the JPEG is cut off or damaged"):
        read(tmp_path / "x.jpg")


def test_a_jpeg_of_several_pictures_is_still_found(tmp_path):
    frames = [Image.fromarray(pixels((32, 40, 3), np.uint8)) for _ in range(2)]
    frames[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=frames[1:])
    with pytest.raises(LossError, match="2 pictures"):
        read(tmp_path / "x.jpg")
    assert read(tmp_path / "x.jpg", frame=0).size == (32, 40)


@pytest.mark.parametrize(("orientation", "refused"), [(1, False), (3, True), (6, True)])
def test_a_png_that_asks_to_be_turned_is_refused_as_a_tiff_is(tmp_path, orientation, refused):
    """Viewers turn it, networks do not, and marks and masks would lie elsewhere."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels((32, 40, 3), np.uint8)).save(tmp_path / "x.png", exif=exif)
    if refused:
        with pytest.raises(InputError, match="turned or mirrored"):
            read(tmp_path / "x.png")
    else:
        assert read(tmp_path / "x.png").size == (32, 40)
