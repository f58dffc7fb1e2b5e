"""Checks of protectors."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from privmed import registry
from privmed.errors import InputError, WeightsError
from privmed.imaging.wire import from_bytes, to_bytes
from privmed.interfaces import Protector
from privmed.interfaces.fitting import Fitting
from privmed.testing import shared
from privmed.testing.samples import sample_images

SLACK = 1e-6  # float32 cannot hold 4/255


def sample_pair(
    batch: int = 2, *, size: tuple[int, int] = (48, 64), channels: int = 3, levels: int = 255
) -> tuple[Tensor, Tensor]:
    """Images on the grid of a file's depth, and masks of a rounded lesion each."""
    image, _ = sample_images(batch, size=size, channels=channels)
    image = (image.double() * levels).round().div(levels).float()
    y, x = (torch.linspace(-1, 1, n) for n in size)
    radius = (y.view(-1, 1) - 0.1).square() + (x + 0.2).square()
    return image, (radius < 0.25).float().expand(batch, 1, *size).contiguous()


def ready(protector: Protector, fitting: Fitting | None = None) -> Protector:
    """Fit a protector to four small pairs, of two sizes, grey and colour."""
    big, mask = sample_pair(2)
    small, little = sample_pair(2, size=(33, 40), channels=1)
    if "segmentation" in protector.tasks and not protector.classes:
        return protector.fit([*zip(big, mask), *zip(small, little)], fitting=fitting)
    return protector.fit([*zip(big, [0, 1]), *zip(small, [1, 0])], fitting=fitting)


def truth_for(protector: Protector, mask: Tensor) -> Tensor:
    """The mask, or class numbers for a protector set to classes."""
    if "segmentation" in protector.tasks and not protector.classes:
        return mask
    return torch.arange(len(mask)) % 2


def check_protect_keeps_shape_dtype_and_range(protector: Protector) -> None:
    """protect() gives float32 in the shape of the image, in [0, 1], for grey and colour, at any size of at least 32."""
    ready(protector)
    for size, channels in (((48, 64), 3), ((33, 47), 1), ((32, 32), 3), ((32, 71), 1)):
        image, mask = sample_pair(2, size=size, channels=channels)
        out = protector.protect(image, truth_for(protector, mask))
        assert out.shape == image.shape, f"{channels} channels at {size}: got {tuple(out.shape)}"
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


def check_bound_holds_in_the_file(protector: Protector) -> None:
    """No pixel of the 8-bit file is farther than ``reach`` from its source; at the ends of the range too."""
    ready(protector)
    image, mask = sample_pair(2)
    image = ((image - 0.5) * 2 + 0.5).clamp(0, 1).mul(255).round() / 255
    protected = protector.protect(image, truth_for(protector, mask))
    written = torch.cat([from_bytes(to_bytes(x)) for x in protected.split(1)])
    assert (written - image).abs().max() <= protector.reach + SLACK
    assert torch.equal(written, protected), "protect() gave values that 8 bits cannot hold"


def check_bound_holds_in_16_bits(protector: Protector) -> None:
    """With 65535 levels the bound is the same part of the range, and holds after rounding."""
    ready(protector)
    image, mask = sample_pair(1, levels=65535)
    protected = protector.protect(image, truth_for(protector, mask), levels=65535)
    stored = (protected.double() * 65535).round() / 65535
    assert (stored - image.double()).abs().max() <= protector.reach + SLACK
    assert (stored - protected.double()).abs().max() <= SLACK


def check_nothing_outside_the_support(protector: Protector) -> None:
    """Where support() says it may not act, images come back bit for bit, whatever their depth."""
    ready(protector)
    image, mask = sample_pair(2)
    truth = truth_for(protector, mask)
    outside = ~protector.support(image, truth)
    assert outside.shape == (2, 1, 48, 64)
    for levels in (255, 65535, None):
        protected = protector.protect(image, truth, levels=levels)
        assert torch.equal(protected.masked_select(outside), image.masked_select(outside))


def check_inputs_are_left_alone(protector: Protector) -> None:
    """protect() does not write into the tensors it is given."""
    ready(protector)
    image, mask = sample_pair(2, size=(64, 64))
    truth = truth_for(protector, mask)
    before = image.clone(), truth.clone()
    protector.protect(image, truth)
    assert torch.equal(image, before[0])
    assert torch.equal(truth, before[1])


def check_same_seed_same_bytes(protector: Protector) -> None:
    """The same image and seed give the same bytes; the global generator is left alone."""
    ready(protector)
    image, mask = sample_pair(1)
    truth = truth_for(protector, mask)
    state = torch.get_rng_state()
    first = protector.protect(image, truth, generator=7)
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"
    torch.rand(3)
    assert torch.equal(first, protector.protect(image, truth, generator=7))


def check_batch_equals_items(protector: Protector) -> None:
    """An image is protected alike in a batch and alone, but for pixels that rounding of other kernels tips over."""
    ready(protector)
    image, mask = sample_pair(3)
    image = (image * torch.tensor([1.0, 0.9, 0.8]).view(3, 1, 1, 1)).mul(255).round() / 255
    truth = truth_for(protector, mask)
    whole = protector.protect(image, truth)
    items = torch.cat([protector.protect(x[None], t[None]) for x, t in zip(image, truth)])
    assert ((whole - items).abs() > SLACK).float().mean() <= 0.1


def check_same_seed_same_fit(protector: Protector) -> None:
    """Two fits from one seed give the same state."""
    first = {k: v.clone() for k, v in ready(protector).state_dict().items()}
    again = ready(type(protector)(protector.config)).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in first.items())


def check_interrupted_fit_goes_on(protector: Protector) -> None:
    """A fit that was interrupted once it had kept something, and resumed, gives the state of one that was not."""
    if not protector.learns:
        return
    whole = ready(type(protector)(protector.config)).state_dict()
    told: list[str] = []

    def interrupt(*_: object) -> None:
        told.append("")
        if checkpoint.is_file():
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "fit.pt"
        with suppress(KeyboardInterrupt):
            ready(type(protector)(protector.config), Fitting(interrupt, checkpoint))
        assert told, "a fit that learns tells nobody how far it is"
        ready(protector, Fitting(None, checkpoint))
    assert all(torch.equal(v, whole[k]) for k, v in protector.state_dict().items())


def check_unfitted_is_refused(protector: Protector) -> None:
    """A protector that learns says so when it has not; one that does not takes fit() all the same."""
    image, mask = sample_pair(1)
    if not protector.learns:
        assert protector.fit(iter([])) is protector
        return
    try:
        protector.protect(image, truth_for(protector, mask))
    except WeightsError as error:
        assert "fit" in str(error)
    else:
        raise AssertionError("an unfitted protector protected")
    assert ready(protector) is protector


def check_bad_images_are_refused(protector: Protector) -> None:
    """Every bad image is answered by one sentence that names it."""
    ready(protector)
    _, mask = sample_pair(1)
    truth = truth_for(protector, mask)
    shared.bad_inputs_refused(lambda image, _: protector.protect(image, truth), "image")


def check_bad_masks_are_refused(protector: Protector) -> None:
    """A mask of another size or with other values than 0 and 1, and impossible classes, are answered by one sentence."""
    image, mask = sample_pair(2)
    for bad in (
        mask[..., :40],
        mask[:1],
        mask * 0.5,
        mask * 255,
        mask.expand(-1, 3, -1, -1),
        torch.tensor([0]),
        torch.tensor([0, -1]),
        torch.tensor([0.0, 1.0]),
        None,
    ):
        try:
            protector.protect(image, bad)
        except InputError as error:
            assert str(error).startswith("mask"), f"the message does not name the mask: {error}"
            continue
        raise AssertionError(f"a mask of {getattr(bad, 'shape', None)} was accepted")


def check_empty_and_full_masks_are_taken(protector: Protector) -> None:
    """An image without a lesion, and one that is all lesion, are protected like any other."""
    ready(protector)
    image, mask = sample_pair(1)
    if truth_for(protector, mask).ndim == 1:
        return
    for value in (0.0, 1.0):
        out = protector.protect(image, torch.full_like(mask, value))
        assert (out - image).abs().max() <= protector.reach + SLACK


def check_bad_pairs_are_named(protector: Protector) -> None:
    """fit() names the pair that cannot be used, and refuses an empty data set."""
    if not protector.learns:
        return
    image, mask = sample_pair(2)
    truth = truth_for(protector, mask)
    bad = [(image[0], truth[0]), (image[1] * 255, truth[1])]
    for pairs, word in ((bad, "pair 1"), ([], "no pair")):
        try:
            protector.fit(pairs)
        except InputError as error:
            assert word in str(error), str(error)
            continue
        raise AssertionError(f"{word}: a bad data set was accepted")


def check_undone_by_names_defences(protector: Protector) -> None:
    """What it says to be undone by are defences that are installed, for data that it protects, and need no clean images or other data."""
    for name in protector.undone_by:
        defence = registry.part("defence", name)
        assert not (defence.clean or defence.pretrained), f"{name} needs clean images or another data set"
        assert set(defence.tasks) & set(protector.tasks), (
            f"{name} does nothing about {' and '.join(protector.tasks)} data"
        )
