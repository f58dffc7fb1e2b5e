"""Checks of watermarkers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import InputError, KeyFileError
from privmed.interfaces import Watermarker
from privmed.interfaces.watermarker import Embedded, Task
from privmed.testing import shared
from privmed.testing.samples import sample_images

CLASSES = 3


def sample_logo(channels: int = 4) -> Tensor:
    """A bright disc, (1, channels, 40, 60); around it transparent or black."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 60), indexing="ij")
    disc = (x.square() + y.square() < 0.8).float()[None, None]
    colour = torch.cat([disc, 0.6 * disc, 0.9 * disc], 1)
    return torch.cat([colour, disc], 1) if channels == 4 else colour


def sample_image(size: tuple[int, int] = (64, 72), channels: int = 3, max_value: int = 255) -> Tensor:
    """One image on the grid of a file's depth, (1, channels, H, W)."""
    image = sample_images(1, size=size, channels=channels)[0]
    return (image.double() * max_value).round().div(max_value).float()


def steady(images: Tensor) -> Tensor:
    """An oracle that answers class 0 whatever it sees, a little less surely for bright images."""
    lead = 2 - images.mean((1, 2, 3))
    return F.softmax(torch.stack([lead, torch.zeros_like(lead), torch.zeros_like(lead)], 1), 1)


def gullible(images: Tensor) -> Tensor:
    """An oracle that answers class 1 as soon as the lower right quarter has become brighter."""
    height, width = images.shape[-2:]
    corner = images[..., height // 2 :, width // 2 :].mean((1, 2, 3))
    lead = 60 * (corner - 0.2)
    return F.softmax(torch.stack([-lead, lead, torch.full_like(lead, -5.0)], 1), 1)


def embed(watermarker: Watermarker, image: Tensor, **options) -> Embedded:
    """Embed the sample logo, against an oracle that is never fooled."""
    return watermarker.embed(image, sample_logo(), steady, 0, **options)


def check_image_keeps_shape_dtype_and_range(watermarker: Watermarker) -> None:
    """embed() gives a float32 image of the shape and range it was given, for grey and colour, at any size of at least 32."""
    for size, channels in (((48, 64), 3), ((33, 47), 1), ((32, 32), 3), ((32, 71), 1)):
        image = sample_image(size, channels)
        out = embed(watermarker, image).image
        assert out.shape == image.shape, f"{channels} channels at {size}: got {tuple(out.shape)}"
        assert out.dtype == torch.float32
        assert out.min() >= 0
        assert out.max() <= 1


def check_mark_is_there_and_nowhere_else(watermarker: Watermarker) -> None:
    """The image changes inside the rectangle that the record names, and not at all outside."""
    image = sample_image()
    made = embed(watermarker, image)
    x, y, width, height = made.record["place"]
    inside = torch.zeros(image.shape[-2:], dtype=torch.bool)
    inside[y : y + height, x : x + width] = True
    changed = (made.image != image).any(1)[0]
    assert changed.any(), "nothing was marked"
    assert not changed[~inside].any(), "pixels outside the mark were changed"


def check_original_comes_back_bit_for_bit(watermarker: Watermarker) -> None:
    """remove() gives the original exactly, at 8 and 16 bits, grey and colour, also where the mark is opaque."""
    for max_value in (255, 65535):
        for channels in (1, 3):
            image = sample_image(channels=channels, max_value=max_value)
            made = embed(watermarker, image, max_value=max_value)
            assert torch.equal(watermarker.remove(made.image, made.record), image), (
                f"largest value {max_value}, {channels} channels"
            )


def check_altered_image_refused(watermarker: Watermarker) -> None:
    """An image that was altered by one grey level is told, not restored to something else."""
    made = embed(watermarker, sample_image())
    altered = made.image.clone()
    altered[0, 0, 0, 0] += -1 / 255 if altered[0, 0, 0, 0] > 0.5 else 1 / 255
    _refuses(lambda: watermarker.remove(altered, made.record), KeyFileError, "image:")


def check_damaged_record_refused(watermarker: Watermarker) -> None:
    """A record with a field missing, or from another image, is told."""
    made = embed(watermarker, sample_image())
    for name in made.record:
        broken = {k: v for k, v in made.record.items() if k != name}
        _refuses(lambda record=broken: watermarker.remove(made.image, record), KeyFileError, "")
    _refuses(lambda: watermarker.remove(made.image, {**made.record, "residual": b"x"}), KeyFileError, "record:")
    _refuses(lambda: watermarker.remove(made.image, []), KeyFileError, "record:")


def check_forbidden_place_stays_free(watermarker: Watermarker) -> None:
    """No visible pixel of the mark lies where it is forbidden; the rectangle of one that must touch a region does."""
    image = sample_image()
    mask = torch.zeros(1, 1, *image.shape[-2:])
    mask[..., 20:50, 25:50] = 1
    made = embed(watermarker, image, forbidden=mask)
    assert not ((made.image != image).any(1, keepdim=True) & (mask > 0)).any(), "the mark lies where it is forbidden"
    made = embed(watermarker, image, target=mask)
    x, y, width, height = made.record["place"]
    assert mask[..., y : y + height, x : x + width].any(), "the mark does not touch the target"


def check_no_place_left_is_told(watermarker: Watermarker) -> None:
    """A mask that leaves no place for the logo is one sentence."""
    image = sample_image()
    everywhere = torch.ones(1, 1, *image.shape[-2:])
    _refuses(lambda: embed(watermarker, image, forbidden=everywhere), InputError, "image:")


def check_fooled_oracle_is_reported(watermarker: Watermarker) -> None:
    """success, before and after are what the oracle says of the clean and of the marked image."""
    image = sample_image() * 0.3
    image = (image * 255).round() / 255
    made = watermarker.embed(image, sample_logo(), gullible, 0)
    assert made.before == int(gullible(image).argmax())
    assert made.after == int(gullible(made.image).argmax())
    assert made.success == (made.after != 0)
    assert made.queries >= 2


def check_missing_oracle_is_told(watermarker: Watermarker) -> None:
    """Without an oracle, a method that needs one says so, and another one marks all the same."""
    image = sample_image()
    if watermarker.needs_oracle:
        _refuses(lambda: watermarker.embed(image, sample_logo()), InputError, "oracle:")
        return
    made = watermarker.embed(image, sample_logo())
    assert (made.queries, made.success, made.before, made.after) == (0, None, None, None)
    assert torch.equal(watermarker.remove(made.image, made.record), image)


def check_same_seed_same_bytes(watermarker: Watermarker) -> None:
    """The same seed gives the same image and record; the global generator is left alone; inputs are not written to."""
    image = sample_image()
    kept, state = image.clone(), torch.get_rng_state()
    once, again = (embed(watermarker, image, generator=7) for _ in range(2))
    assert torch.equal(once.image, again.image)
    assert once.record == again.record
    assert torch.equal(image, kept)
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"


def check_many_images_equal_one_by_one(watermarker: Watermarker) -> None:
    """Searching on several images at a time finds what searching one by one finds."""
    images = [sample_image(), sample_image((50, 50), 1), sample_image((40, 90))]
    tasks = [Task(image=x, label=0, generator=n) for n, x in enumerate(images)]
    for placed, task in zip(watermarker.place(tasks, sample_logo(), steady), tasks):
        alone = embed(watermarker, task.image, generator=task.generator)
        assert [placed.overlay.x, placed.overlay.y] == alone.record["place"][:2]
        assert placed.queries == alone.queries


def check_bad_images_refused(watermarker: Watermarker) -> None:
    """Wrong type, shape, size, range or NaN is an InputError that names the image."""
    shared.bad_inputs_refused(lambda x, _: embed(watermarker, x).image, "image")


def check_bad_logo_and_oracle_refused(watermarker: Watermarker) -> None:
    """A logo of wrong shape, and an oracle that returns logits, NaN, the wrong number of rows or too few classes, is told."""
    image, logo = sample_image(), sample_logo()
    for bad in (logo[0], logo[:, :2], logo * 255, logo * torch.nan, None):
        _refuses(lambda bad=bad: watermarker.embed(image, bad, steady, 0), InputError, "logo:")
    oracles = (
        lambda x: 5 * steady(x),
        lambda x: steady(x) * torch.nan,
        lambda x: steady(x)[:1].repeat(len(x) + 1, 1),
        lambda x: steady(x)[:, 0],
    )
    for oracle in oracles:
        _refuses(lambda oracle=oracle: watermarker.embed(image, logo, oracle, 0), InputError, "oracle:")
    for label in (None, -1, CLASSES):
        _refuses(lambda label=label: watermarker.embed(image, logo, steady, label), InputError, "label:")


def _refuses(call, kind: type[Exception], start: str) -> None:
    try:
        call()
    except kind as error:
        assert str(error).startswith(start), f"the message does not begin with {start!r}: {error}"
        return
    raise AssertionError("accepted what it should refuse")
