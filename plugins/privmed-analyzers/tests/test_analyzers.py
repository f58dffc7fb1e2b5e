"""What U-Net and HideMIA promise beyond the conformance kit."""

import pytest
import torch
from privmed_analyzers.hidemia.asywa import BANDS, AsyWA, pairs

import privmed
from privmed.errors import SettingsError
from privmed.imaging import haar
from privmed.nn.unet import UNet
from privmed.testing import parametrize_with_checks, sample_images

SMALL = {"width": 4}


@parametrize_with_checks("analyzer:hidemia", width=4, residual_bands=["ll", "lh", "hl", "hh"])
def test_hidemia_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:unet", width=4, classes=3)
def test_unet_conforms(method, check):
    check(method)


@pytest.mark.parametrize(("width", "parameters"), [(16, 1_944_083), (32, 7_766_051), (64, 31_043_651)])
def test_unet_parameters_are_as_counted_by_hand(width, parameters):
    assert sum(p.numel() for p in UNet(3, 3, width).parameters()) == parameters


@pytest.mark.parametrize(("level", "parameters"), [(0, 8_640), (1, 33_664), (2, 132_864), (3, 527_872), (4, 2_104_320)])
def test_attention_parameters_are_as_counted_by_hand(level, parameters):
    assert sum(p.numel() for p in AsyWA(32 * 2**level).parameters()) == parameters


def awake(**settings):
    """Attention whose expansion does something."""
    torch.manual_seed(0)
    layer = AsyWA(16, **settings).double()
    for expand in layer.expand:
        torch.nn.init.normal_(expand.weight)
    return layer


def bands(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 16, 7, 10, generator=g, dtype=torch.float64) for _ in BANDS]


def test_attention_starts_as_the_identity():
    x = [b.float() for b in bands()]
    assert all(torch.equal(a, b) for a, b in zip(AsyWA(16)(x), x))


def test_there_are_thirteen_products():
    assert len(pairs(True, True, False)) == 13
    assert len(pairs(True, True, True)) == 16
    assert len(pairs(True, False, False)) == 4
    assert len(pairs(False, True, False)) == 9


def test_no_high_band_listens_to_ll():
    layer, x = awake(), bands()
    other = [bands(1)[0], *x[1:]]
    for a, b in zip(layer(x)[1:], layer(other)[1:]):
        assert torch.equal(a, b)
    changed = [x[0], bands(1)[1], *x[2:]]
    assert not torch.equal(layer(x)[0], layer(changed)[0])


def test_symmetric_attention_lets_high_bands_listen_to_ll():
    layer, x = awake(symmetric=True), bands()
    assert not torch.equal(layer(x)[1], layer([bands(1)[0], *x[1:]])[1])


@pytest.mark.parametrize("query_from", ["receiver", "source"])
@pytest.mark.parametrize("kernel", ["softmax", "linear"])
def test_attention_equals_the_formula_written_out(kernel, query_from):
    """Eq. 4 to 6, one pair at a time, with an explicit N x N map."""
    layer = awake(kernel=kernel, query_from=query_from)
    tokens = [torch.randn(2, 12, 8, dtype=torch.float64) for _ in BANDS]
    heard = layer.listen(tokens)
    for r in range(4):
        total = 0
        for s in range(4):
            if r > 0 and s == 0:
                continue
            asks, tells = (r, s) if query_from == "receiver" else (s, r)
            q, k, v = (
                layer.query[asks](tokens[asks]),
                layer.key[tells](tokens[tells]),
                layer.value[tells](tokens[tells]),
            )
            scores = q @ k.mT
            total = total + ((scores / 8**0.5).softmax(-1) @ v if kernel == "softmax" else scores @ v / 12**0.5)
        torch.testing.assert_close(heard[r], total)


def test_untrained_response_follows_the_residual():
    """A zero head answers with the bands that are kept: all of them give the stego, LL alone its 2x2 means (Eq. 1)."""
    stego, _ = sample_images(1, size=(32, 64))
    whole = privmed.analyzer("hidemia", weights=None, residual_bands=list(BANDS), **SMALL).analyze(stego)
    torch.testing.assert_close(whole, stego, atol=1e-6, rtol=0)
    means = privmed.analyzer("hidemia", weights=None, **SMALL).analyze(stego)
    torch.testing.assert_close(haar(means).ll, haar(stego).ll, atol=1e-5, rtol=0)
    assert haar(means).hh.abs().max() < 1e-6
    nothing = privmed.analyzer("hidemia", weights=None, residual_bands=[], **SMALL).analyze(stego)
    assert nothing.abs().max() == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 0},
        {"k": 1},
        {"k": 5},
        {"k": 2, "candidates": [1, 2]},
        {"strength": 0.0},
        {"diagonal": "literal"},
        {"attention": "none"},
        {"attention": "inner"},
        {"attention": "inter"},
        {"symmetric": True},
        {"attention_kernel": "linear"},
        {"query_from": "source"},
        {"attention_levels": [0, 4]},
        {"residual_bands": []},
        {"classes": 7},
    ],
    ids=str,
)
def test_every_ablation_learns(settings):
    """A few steps towards a given answer come nearer to it."""
    torch.manual_seed(0)
    analyzer = privmed.analyzer("hidemia", weights=None, **{"width": 2, **settings}).train()
    stego, _ = sample_images(2, size=(32, 32))
    optimizer = torch.optim.Adam(analyzer.networks.parameters(), 3e-3)
    losses = []
    for _ in range(4):
        answer = analyzer._decode(analyzer._analyze(stego, torch.Generator()))
        losses.append((answer - 1).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.999 * losses[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 3, "candidates": [1, 2]}, "only 2 candidates"),
        ({"residual_bands": ["lll"]}, "residual_bands"),
        ({"attention": "bot"}, "'both'"),
        ({"attention_levels": [5]}, "attention_levels"),
        ({"candidates": [1, 1, 2]}, "distinct"),
        ({"strength": 1.5}, "strength"),
        ({"k": 6}, "k must lie in"),
        ({"diagonal": "liteal"}, "'literal'"),
        ({"classes": 1}, "classes"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(SettingsError, match=words):
        privmed.analyzer("hidemia", weights=None, **settings)


def test_decoding_by_hand():
    """p = sigmoid(10 * (mean of channels - 0.5)); a pixel (0.3, 0.6, 0.9) has mean 0.6, so p = sigmoid(1)."""
    x = torch.full((1, 3, 32, 32), 0.6)
    x[:, 0], x[:, 2] = 0.3, 0.9
    p = privmed.analyzer("hidemia", weights=None, **SMALL).decode(x)
    torch.testing.assert_close(p, torch.full((1, 1, 32, 32), 0.7310586), atol=1e-6, rtol=0)


def test_classification_head_is_tiny():
    analyzer = privmed.analyzer("hidemia", weights=None, classes=7, **SMALL)
    assert sum(p.numel() for p in analyzer.output_decoder.parameters()) == 1351


def test_segmenting_bare_images_at_any_size():
    """Grown by reflection to what the network can halve, and cut to size again."""
    torch.manual_seed(0)
    unet = privmed.analyzer("unet", weights=None, **SMALL)
    torch.nn.init.normal_(unet.network.head.weight, std=1e3)  # fresh features are faint
    image = torch.rand(2, 1, 37, 50)
    grown = torch.nn.functional.pad(image, (0, 14, 0, 11), mode="reflect")
    found = unet.segment(image)
    assert found.std() > 0.5
    torch.testing.assert_close(found, unet.segment(grown)[..., :37, :50], atol=2e-2, rtol=1e-2)


def test_training_reaches_every_part():
    """In training mode gradients reach gates and attention of every band, and batch normalisation keeps its statistics."""
    analyzer = privmed.analyzer("hidemia", weights=None, k=5, **SMALL).train()
    for network in analyzer.networks.values():
        torch.nn.init.normal_(network.head.weight)
    for layer in analyzer.attention.values():
        for expand in layer.expand:
            torch.nn.init.normal_(expand.weight)
    stego, _ = sample_images(2, size=(64, 64))
    analyzer._decode(analyzer._analyze(stego, torch.Generator())).square().mean().backward()
    silent = [n for n, p in analyzer.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []
    gates = [p.grad for n, p in analyzer.named_parameters() if n.endswith("gate.mlp.0.weight")]
    assert len(gates) == 4 * 2 * 5
    assert all(g.abs().max() > 0 for g in gates)
    assert all(b.any() for n, b in analyzer.named_buffers() if n.endswith("running_mean"))


def test_segmenting_learns_and_equals_decoding_of_the_bare_answer():
    """segment() is the network and the reading with nothing between them, differentiable while training."""
    unet = privmed.analyzer("unet", weights=None, **SMALL).train()
    torch.nn.init.normal_(unet.network.head.weight)
    image = torch.rand(2, 3, 64, 64)
    unet.segment(image).square().mean().backward()
    assert unet.network.encoder[0][0].weight.grad.abs().max() > 0
    unet.eval()
    torch.testing.assert_close(unet.segment(image), unet.output_decoder(unet._analyze(image, torch.Generator())))
