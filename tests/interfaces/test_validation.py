"""What every method checks of its input, once."""

import pytest
import torch

from privmed.errors import InputError, SettingsError
from privmed.interfaces import validation
from privmed.interfaces.hider import _cuts


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "expected a torch tensor"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "Divide by the largest value"),
        (torch.zeros(3, 32, 32), r"x\[None\]"),
        (torch.zeros(1, 32, 32, 3), "permute"),
        (torch.zeros(1, 3, 31, 256), "H and W must be at least 32, got 31 x 256"),
        (torch.full((1, 3, 32, 32), 200.0), "Divide by 255 first"),
        (torch.full((1, 3, 32, 32), torch.nan), "NaN or infinite"),
    ],
    ids=range(7),
)
def test_messages_name_the_thing_and_the_way_out(value, words):
    with pytest.raises(InputError, match=words) as caught:
        validation.image("cover", value)
    assert str(caught.value).startswith("cover:")


def test_rounding_errors_at_the_ends_are_forgiven():
    x = torch.full((1, 1, 32, 32), 1 + 5e-5)
    assert validation.image("x", x).max() == 1


@pytest.mark.parametrize("size", [(32, 32), (100, 37), (33, 400)])
def test_fill_covers_the_whole_target_without_distortion(size):
    """A centred disc stays a centred disc: its aspect ratio is 1 after filling."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 120), torch.linspace(-2, 2, 240), indexing="ij")
    disc = ((x**2 + y**2) < 0.01).float()[None, None]
    out = validation.fill(disc, size)
    assert out.shape[-2:] == size
    rows, columns = (out[0, 0] > 0.5).nonzero().unbind(1)
    tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    assert abs(int(tall) - int(wide)) <= 2


@pytest.mark.parametrize("multiple", [2, 16, 32])
def test_pad_and_crop_are_inverse(multiple):
    x = torch.rand(1, 3, 33, 47)
    padded = validation.pad(x, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert torch.equal(validation.crop(padded, (33, 47)), x)


def test_masks_are_binary_and_fit():
    image = torch.rand(1, 3, 32, 32)
    assert validation.mask("mask", torch.ones(1, 1, 32, 32, dtype=torch.bool), image).dtype == torch.float32
    with pytest.raises(InputError, match="only 0 and 1"):
        validation.mask("mask", torch.full((1, 1, 32, 32), 0.5), image)
    with pytest.raises(InputError, match="like the image"):
        validation.mask("mask", torch.zeros(1, 1, 32, 40), image)


def test_a_broken_method_is_told_from_a_bad_input(toy_hider):
    toy_hider._hide = lambda secret, cover, generator: cover[..., :-1]
    with pytest.raises(InputError, match="broke its contract"):
        toy_hider.hide(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_unknown_precision_is_refused(toy_hider):
    toy_hider.precision = "fp8"
    with pytest.raises(SettingsError, match="float32, bf16"):
        toy_hider.subnets()


@pytest.mark.parametrize("length", [32, 64, 65, 130, 1000])
def test_tiles_cover_everything_once(length):
    cuts = _cuts(length, 64, 2)
    assert [a for a, _ in cuts] == [0, *(b for _, b in cuts[:-1])]
    assert cuts[-1][1] == length
    assert all(b - a <= 64 for a, b in cuts)
    assert all(a % 2 == 0 for a, _ in cuts)
