"""What is transmitted carries pixels and nothing else, and appears whole or not at all."""

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.errors import InputError, OutputError
from privmed.files import whole_file
from privmed.imaging import quantise, read_wire, write_view, write_wire
from privmed.imaging.wire import chunks, from_bytes, read_pixels, write_pixels


@pytest.fixture
def image():
    return torch.rand(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))


def test_file_holds_the_rounded_pixels_and_nothing_else(tmp_path, image):
    held = write_wire(tmp_path / "patient-name.png", image)
    assert torch.equal(held, quantise(image))
    data = (tmp_path / "patient-name.png").read_bytes()
    assert set(chunks(data)) == {"IHDR", "IDAT", "IEND"}
    assert b"patient" not in data
    assert torch.equal(read_wire(tmp_path / "patient-name.png"), held)
    with Image.open(tmp_path / "patient-name.png") as file:
        assert (file.mode, file.info) == ("RGB", {})


def test_grey_becomes_colour_on_the_wire(tmp_path, image):
    held = write_wire(tmp_path / "x.png", image[:, :1])
    assert held.shape == (1, 3, 33, 47)


def test_pixels_are_written_as_they_are(tmp_path, image):
    """Grey stays grey, and what the check refuses is not there."""
    held = write_pixels(tmp_path / "x.png", image[:, :1])
    assert held.shape == (33, 47)
    assert np.array_equal(read_pixels(tmp_path / "x.png"), held)
    assert torch.equal(from_bytes(held), quantise(image[:, :1]))
    with pytest.raises(InputError, match="no"):
        write_pixels(tmp_path / "y.png", image, check=refuse)
    assert not (tmp_path / "y.png").exists()


def refuse(_held):
    raise InputError("no")


def test_jpeg_is_refused(tmp_path, image):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "stego.jpg")
    with pytest.raises(InputError, match="compression destroys what is hidden"):
        read_wire(tmp_path / "stego.jpg")
    with pytest.raises(OutputError, match=r"Name it x\.png"):
        write_wire(tmp_path / "x.jpg", image)


def test_deep_png_is_not_a_stego(tmp_path):
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="not a plain 8-bit PNG"):
        read_wire(tmp_path / "deep.png")


def test_nan_and_batches_are_refused(tmp_path, image):
    image[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        write_wire(tmp_path / "x.png", image)
    with pytest.raises(InputError, match="expected one image"):
        write_view(tmp_path / "x.png", torch.zeros(2, 3, 32, 32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_view, write_wire])
def test_images_that_are_not_in_0_to_1_are_refused(tmp_path, image, write):
    """A picture of 0 to 255 would come out white."""
    with pytest.raises(InputError, match=r"in \[0, 1\], got torch\.uint8"):
        write(tmp_path / "x.png", (image * 255).byte())
    with pytest.raises(InputError, match=r"in \[0, 1\], got values from"):
        write(tmp_path / "x.png", image * 255)
    with pytest.raises(InputError, match=r"got values from -0\.5"):
        write(tmp_path / "x.png", image - image.amin() - 0.5)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "x.png", image * (1 + 1e-6))  # rounding of float32
    write(tmp_path / "y.png", image > 0.5)


def test_existing_output_is_kept(tmp_path, image):
    (tmp_path / "x.png").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_wire(tmp_path / "x.png", image)
    assert (tmp_path / "x.png").read_text() == "precious"
    write_wire(tmp_path / "x.png", image, overwrite=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_half_written_survives(tmp_path, failure):
    with pytest.raises((KeyboardInterrupt, OutputError)), whole_file(tmp_path / "x.png") as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert not list(tmp_path.iterdir())


def test_read_only_folder_is_named(tmp_path, image, monkeypatch):
    monkeypatch.setattr("privmed.files.os.access", lambda *_: False)
    with pytest.raises(OutputError, match="is read-only"):
        write_wire(tmp_path / "x.png", image)


def test_missing_folder_is_named(tmp_path, image):
    with pytest.raises(OutputError, match="there is no folder"):
        write_wire(tmp_path / "nowhere" / "x.png", image)
