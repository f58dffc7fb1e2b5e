"""What HiDDeN and DeepStega promise beyond the conformance kit: the networks that the papers' figures identify."""

from itertools import pairwise

import pytest
import torch
from privmed_hiders.deepstega import Level
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import privmed
from privmed.testing import parametrize_with_checks, sample_images

NAMES = ["deepstega", "hidden"]
# of the networks in turn: where each begins among the modules, and its parameters
PARTS = {"deepstega": ([1, 2], [50_110, 243_163, 195_388]), "hidden": ([-2], [319_299, 263_043])}


@parametrize_with_checks("hider:deepstega", levels=2, preparation=1)
def test_deepstega_conforms(method, check):
    check(method)


@parametrize_with_checks("hider:hidden", width=16, before=1, after=1, decoder=2)
def test_hidden_conforms(method, check):
    check(method)


@pytest.mark.parametrize(("name", "parameters"), [("deepstega", 488_661), ("hidden", 582_342)])
def test_parameters_are_those_of_the_paper(name, parameters):
    hider = privmed.hider(name, weights=None)
    assert sum(p.numel() for p in hider.parameters()) == parameters
    counts = [sum(p.numel() for p in part.parameters()) for part in hider.children()]
    assert [sum(counts[a:b]) for a, b in pairwise([0, *PARTS[name][0], len(counts)])] == PARTS[name][1]


def multiplications(call, *images):
    """Multiply-accumulates of one call."""
    with FlopCounterMode(display=False) as counter:
        call(*images)
    return counter.get_total_flops() // 2


def count_normalised(hider):
    """Elements that each layer of batch normalisation sees, filled in by the calls that follow."""
    seen = []
    for layer in hider.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _layer, _inputs, out: seen.append(out.numel()))
    return seen


@pytest.mark.parametrize(
    ("name", "hide", "recover", "published"),
    [("deepstega", 14_663_963_520, 9_768_520_800, 73.30), ("hidden", 15_934_291_968, 13_121_224_704, 87.49)],
)
def test_multiplications_are_those_of_the_paper(name, hide, recover, published):
    """At 224 x 224; the paper counts three images, hide and recover, and two operations an element in batch normalisation."""
    hider, image = privmed.hider(name, weights=None), torch.rand(1, 3, 224, 224)
    normalised = count_normalised(hider)
    there, back = multiplications(hider.hide, image, image), multiplications(hider.recover, image)
    assert (there, back) == (hide, recover)
    assert round(3 * (there + back + 2 * sum(normalised)) / 1e9, 2) == published


def test_a_level_is_three_convolutions_side_by_side():
    """The even kernel answers for all but the last row and column, which stay empty."""
    level, x = Level(3).double(), torch.rand(1, 3, 9, 7, dtype=torch.float64)
    out = level(x)
    three, four, five = level.branches
    assert torch.equal(out[:, :50], F.relu(F.conv2d(x, three.weight, three.bias, padding=1)))
    padded = F.pad(x, (1, 2, 1, 2))
    assert torch.allclose(out[:, 50:60, :-1, :-1], F.relu(F.conv2d(padded, four.weight, four.bias))[..., :-1, :-1])
    assert not out[:, 50:60, -1].any()
    assert not out[:, 50:60, :, -1].any()
    assert torch.equal(out[:, 60:], F.relu(F.conv2d(x, five.weight, five.bias, padding=2)))


@pytest.mark.parametrize("name", NAMES)
def test_stego_and_recovered_are_finer_than_bfloat16(name):
    """The layer that makes an image runs in float32: bfloat16 has about 8 bits, as coarse as the file."""
    hider = privmed.hider(name, weights=None)
    hider.precision = "bf16"
    secret, cover = sample_images(1, size=(32, 48))
    for image in (hider.hide(secret, cover, clamp=False), hider.recover(cover, clamp=False)):
        assert not torch.equal(image, image.bfloat16().float())


def test_the_secret_stands_beside_the_covers_features_as_often_as_set():
    """Of the hundred channels after the concatenation, the first 33 are the secret; with their kernels at zero nothing is hidden."""
    hider = privmed.hider("hidden", weights=None)
    secret, cover = sample_images(1, size=(32, 32))
    first = hider.after[0][0]
    assert first.in_channels == 100
    stegos = lambda: [hider.hide(x, cover, clamp=False) for x in (secret, 1 - secret)]  # noqa: E731
    assert not torch.equal(*stegos())
    nn.init.zeros_(first.weight[:, :33].detach())
    assert torch.equal(*stegos())


@pytest.mark.parametrize("name", NAMES)
def test_large_images_are_hidden_tile_by_tile(name, monkeypatch):
    hider = privmed.hider(name, weights=None)
    hider.precision = "float32"
    monkeypatch.setattr(type(hider), "tile", 48)
    secret, cover = sample_images(1, size=(40, 91))
    whole, part = hider.hide(secret, cover, clamp=False), hider.hide(secret[..., :46], cover[..., :46], clamp=False)
    assert torch.allclose(whole[..., :46], part, atol=1e-5)


@pytest.mark.parametrize("name", ["hidden", "deepstega"])
def test_bundled_weights_hide_and_give_back_after_8_bits(name):
    """The shipped weights on images they have never seen: far from the papers' figures, but nearer than the mean of each image is."""
    from privmed.imaging import quantise

    hider = privmed.hider(name)
    secret, cover = sample_images(1, size=(64, 64), seed=3)
    stego = quantise(hider.hide(secret, cover))
    for found, wanted in ((stego, cover), (hider.recover(stego), secret.expand(-1, 3, -1, -1))):
        flat = wanted.mean((2, 3), keepdim=True).expand_as(wanted)
        assert (found - wanted).square().mean() < 0.5 * (flat - wanted).square().mean()
