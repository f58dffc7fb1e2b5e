"""Several pictures in one file, and scans that hold more than what is seen of them: said, never dropped."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from privmed.errors import InputError, LossError
from privmed.imaging import read, read_secret


@pytest.fixture
def two():
    """Two pictures that differ everywhere."""
    return [Image.fromarray(np.full((40, 48, 3), value, np.uint8)) for value in (60, 200)]


def written(tmp_path, two, kind):
    first, second = two
    path = tmp_path / f"two.{kind}"
    options = {"format": "MPO"} if kind == "jpg" else {}
    first.save(path, save_all=True, append_images=[second], **options)
    return path


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_one_of_several_pictures_must_be_asked_for(tmp_path, two, kind):
    path = written(tmp_path, two, kind)
    with pytest.raises(InputError, match="--frame"):
        read(path)
    assert np.asarray(read(path, frame=0).pixels)[0, 0, 0] == pytest.approx(60, abs=2)
    with pytest.raises(InputError, match="no frame 7"):
        read(path, frame=7)


def test_a_second_picture_is_no_ordinary_chunk(tmp_path, two):
    """One picture, tags and text: not an animation."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Comment", "acTL IDAT")
    two[0].save(tmp_path / "one.png", pnginfo=text)
    assert read(tmp_path / "one.png").size == (40, 48)
    with pytest.raises(InputError, match="holds one picture"):
        read(tmp_path / "one.png", frame=1)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_deep_scan_is_hidden_only_where_that_is_allowed(tmp_path, kind):
    path, deep = tmp_path / f"deep.{kind}", np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 30
    if kind == "png":
        Image.fromarray(deep).save(path)
    else:
        tifffile.imwrite(path, deep)
    with pytest.raises(LossError, match=r"16 bits a value become the 8.*--allow-lossy"):
        read_secret(path)
    assert np.array_equal(read_secret(path, allow_lossy=True).pixels, deep)


def test_eight_bits_and_fewer_need_no_leave(tmp_path, two):
    for name, picture in (
        ("a.png", two[0]),
        ("b.jpg", two[0]),
        ("c.png", two[0].convert("1")),
        ("d.png", two[0].convert("P")),
    ):
        picture.save(tmp_path / name)
        assert read_secret(tmp_path / name).beyond_view == ""


def test_transparency_is_refused_whatever_is_allowed(tmp_path):
    Image.new("RGBA", (40, 40), (9, 9, 9, 7)).save(tmp_path / "clear.png")
    with pytest.raises(LossError, match="transparent"):
        read_secret(tmp_path / "clear.png", allow_lossy=True)
