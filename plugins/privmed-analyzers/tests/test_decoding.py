"""How the client reads answers: several classes as colours, and that nothing was hidden."""

import math

import numpy as np
import pytest
import torch
from privmed_analyzers.decoding import DecoderConfig, OutputDecoder, sure_regions
from scipy import ndimage

import privmed
from privmed.client import RemoteAnalyzer
from privmed.data.samples import ultrasound_phantom
from privmed.errors import SettingsError
from privmed.imaging.labels import codes, encode, label_map
from privmed.imaging.quantise import quantise
from privmed.testing import parametrize_with_checks


@parametrize_with_checks("analyzer:cmunext", mask_classes=8, presence=True)
def test_an_analyzer_of_several_classes_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:unet", width=2, mask_classes=3, colours="learned")
def test_an_analyzer_of_learned_colours_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:unet", width=2, presence=True)
def test_an_analyzer_that_tells_presence_conforms(method, check):
    check(method)


def phantom_labels(classes, side=48):
    """Lesions of phantoms on top of each other, one class each."""
    labels = torch.zeros(1, 1, side, side)
    for k in range(1, classes):
        mask = ultrasound_phantom(k, side=side)[1]
        labels[mask.roll((3 * k - 12, 5 * k - 20), (2, 3)) > 0.5] = k
    assert labels.unique().numel() == classes
    return labels


@pytest.mark.parametrize("colours", ["fixed", "learned"])
@pytest.mark.parametrize("presence", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_classes_come_back_exactly(classes, presence, colours):
    """Through 8 bits, and where noise moved them by less than half of the distance of two colours."""
    decoder = OutputDecoder(DecoderConfig(mask_classes=classes, presence=presence, colours=colours))
    labels = phantom_labels(classes)
    sent = encode_as(decoder, labels)
    assert torch.equal(label_map(decoder(quantise(sent)).softmax(1)), labels)
    points = codes(classes + presence)
    nearest = torch.cdist(points, points).fill_diagonal_(9).min()
    away = torch.randn(sent.shape, generator=torch.Generator().manual_seed(0))
    away = 0.49 * nearest * away / away.norm(dim=1, keepdim=True)
    assert torch.equal(label_map(decoder(sent + away).softmax(1)), labels)


def encode_as(decoder, labels):
    return codes(len(decoder.colours.weight))[labels[:, 0].long()].permute(0, 3, 1, 2)


def test_logits_are_distances_to_the_colours():
    decoder = OutputDecoder(DecoderConfig(mask_classes=3, gain=7.0))
    x = torch.rand(2, 3, 4, 5)
    distances = (x[:, None] - codes(3).view(1, 3, 3, 1, 1)).square().sum(2)
    logits = decoder(x)
    torch.testing.assert_close(logits - logits[:, :1], -7 * (distances - distances[:, :1]), atol=1e-5, rtol=0)


def test_learned_colours_can_move_and_fixed_ones_cannot():
    for colours, count in (("learned", 4 * 3), ("fixed", 0)):
        decoder = OutputDecoder(DecoderConfig(mask_classes=3, colours=colours))
        assert sum(p.numel() for p in decoder.parameters()) == count
    decoder(torch.rand(1, 3, 4, 4))


def test_two_classes_are_read_as_a_foreground_is():
    """Black and white: nearer to white is a mean above a half."""
    x = torch.rand(1, 3, 16, 16)
    two, one = OutputDecoder(DecoderConfig(mask_classes=2)), OutputDecoder(DecoderConfig())
    assert torch.equal(label_map(two(x).softmax(1)), label_map(one(x).sigmoid()))


def test_presence_by_hand():
    """Grey is an answer to a scan (logit g / 2), red is one to nothing (-g / 2), and marks nothing."""
    decoder = OutputDecoder(DecoderConfig(presence=True))
    x = torch.full((2, 3, 32, 32), 0.7)
    x[1, 0], x[1, 1:] = 1.0, 0.0
    torch.testing.assert_close(decoder.presence(x), torch.tensor([5.0, -5.0]))
    assert label_map(decoder(x).sigmoid()).mean((1, 2, 3)).tolist() == [1, 0]
    assert OutputDecoder(DecoderConfig()).presence(x) is None


def test_presence_among_several_classes_has_a_colour_of_its_own():
    decoder = OutputDecoder(DecoderConfig(mask_classes=3, presence=True))
    points = codes(4)
    assert all(decoder.presence(c.view(1, 3, 1, 1).expand(1, 3, 32, 32)) > 5 for c in points[:3])
    nothing = points[3].view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert decoder.presence(nothing) < -5
    assert decoder(nothing).shape[1] == 3


def test_regions_that_are_sure_nowhere_are_taken_back_by_hand():
    """Probability 0.9 is a mean of 0.72. A region that touches a sure pixel at a corner is one with it."""
    answer = torch.full((2, 3, 8, 8), 0.2)
    answer[0, :, 1:3, 1:3] = 0.6
    answer[0, :, 3, 3] = 0.8  # sure, at a corner of the first region
    answer[0, :, 6, 5:8] = 0.6  # a region of its own, sure nowhere
    answer[1, :, 1:3, 1:3] = 0.6  # the other image is sure of nothing
    expected = torch.zeros(2, 1, 8, 8)
    expected[0, :, 1:3, 1:3] = expected[0, :, 3, 3] = 1
    plain, decoder = OutputDecoder(DecoderConfig()), OutputDecoder(DecoderConfig(peak=0.9)).eval()
    assert torch.equal(label_map(decoder(answer).sigmoid()), expected)
    kept = expected.bool() | (answer[:, :1] < 0.5)
    assert torch.equal(decoder(answer)[kept], plain(answer)[kept])
    assert label_map(OutputDecoder(DecoderConfig(peak=0.99)).eval()(answer).sigmoid()).sum() == 0
    assert decoder(answer[:0]).shape == (0, 1, 8, 8)
    assert torch.equal(label_map(decoder(answer.bfloat16()).sigmoid()), expected)


def test_of_several_photographs_more_than_half_have_to_be_sure():
    """As answers are averaged: a probability of 0.99 in one, and 0.6 in the others."""
    sure, unsure = (torch.full((1, 1, 2, 2), torch.logit(torch.tensor(p)).item()) for p in (0.99, 0.6))
    for count, marked in ((2, False), (3, False)):
        answers = [sure_regions(x, 0.95).sigmoid() for x in [sure] + (count - 1) * [unsure]]
        assert bool((torch.cat(answers).mean() > 0.5) == marked)
    assert torch.cat([sure_regions(x, 0.95).sigmoid() for x in (sure, sure, unsure)]).mean() > 0.5


def test_a_gradient_passes_where_regions_are_kept():
    logits = torch.tensor([[[[1.0, 0.0, 4.0, 3.0]]]], requires_grad=True)
    sure_regions(logits, 0.95).sum().backward()
    assert logits.grad[0, 0, 0].tolist() == [0, 1, 1, 1]


def test_a_peak_is_hysteresis_thresholding():
    """What SciPy reaches from sure pixels, over pixels that are more likely than not, eight neighbours each."""
    noise = torch.randn(3, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    logits = torch.nn.functional.avg_pool2d(4 * noise, 2, 1)
    found = sure_regions(logits, 0.98)
    for one, kept in zip(logits[:, 0].numpy(), found[:, 0].numpy() > 0):
        high, low = one > math.log(0.98 / 0.02), one > 0
        assert np.array_equal(kept, ndimage.binary_propagation(high, np.ones((3, 3)), low))
        assert high.sum() < kept.sum() < low.sum()
    assert torch.equal(found[logits <= 0], logits[logits <= 0])


def test_a_peak_is_the_clients_alone():
    """A training sees every region, and the server's answer is the same."""
    unet = privmed.analyzer("unet", weights=None, width=2)
    strict = privmed.analyzer("unet", weights=None, width=2, peak=0.99)
    strict.load_state_dict(unet.state_dict())
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(unet.analyze(x), strict.analyze(x))
    assert torch.equal(unet.train().decode(x), strict.train().decode(x))
    assert not torch.equal(unet.eval().decode(x), strict.eval().decode(x))
    remote = RemoteAnalyzer("https://hospital.example", strict)
    assert torch.equal(remote.decode(x), strict.decode(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peak": 1.5}, "peak must lie in"),
        ({"peak": 0.995}, "white answer has a probability of 0.9933"),
        ({"peak": 0.99, "threshold": 0.72}, "out of reach"),
        ({"mask_classes": 3, "peak": 0.9}, "peak is of one foreground"),
        ({"mask_classes": 1}, "mask_classes must be 0 or at least 2"),
        ({"mask_classes": 64}, "mask_classes must lie in"),
        ({"mask_classes": 3, "classes": 2}, "exclude each other"),
        ({"colours": "fixd"}, "'fixed'"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(SettingsError, match=words):
        privmed.analyzer("unet", weights=None, width=2, **settings)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_an_encoded_map_is_black_where_the_background_is(classes):
    labels = phantom_labels(classes)
    image = encode(labels, classes)
    assert torch.equal((image.amax(1, keepdim=True) > 0).float(), (labels > 0).float())
