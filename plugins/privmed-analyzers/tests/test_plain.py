"""Plain networks as analyzers: their size, their any size, and that they learn as competitors of HideMIA do."""

import numpy as np
import pytest
import pywt
import torch
from privmed_analyzers.cmunext import VARIANTS
from privmed_analyzers.cmunext import Network as CMUNeXtNetwork
from privmed_analyzers.xnet import Network as XNetNetwork
from privmed_analyzers.xnet import frequencies

import privmed
from privmed.errors import SettingsError
from privmed.imaging.quantise import quantise
from privmed.testing import parametrize_with_checks, sample_images
from privmed.training.losses import dice_ce

SMALL = {
    "unet": {"width": 4},
    "attention-unet": {"width": 4},
    "unet++": {"width": 4},
    "transunet": {"width": 4, "depth": 1},
    "xnet": {"width": 2},
    "cmunext": {},
}


@parametrize_with_checks("analyzer:attention-unet", width=2)
def test_attention_unet_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:unet++", width=2)
def test_unetpp_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:transunet", width=4, depth=1, classes=3)
def test_transunet_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:xnet", width=2)
def test_xnet_conforms(method, check):
    check(method)


@parametrize_with_checks("analyzer:cmunext")
def test_cmunext_conforms(method, check):
    check(method)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("variant", "count"), [("s", 417_505), ("base", 3_149_185), ("l", 8_286_721)])
def test_cmunext_has_the_parameters_of_the_paper(variant, count):
    with torch.device("meta"):
        assert parameters(CMUNeXtNetwork(3, 1, VARIANTS[variant])) == count


def test_xnet_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        assert parameters(XNetNetwork(3, 3, 64)) == 326_177_798


@pytest.mark.parametrize(
    ("name", "count"), [("attention-unet", 34_878_703), ("unet++", 9_163_395), ("transunet", 105_276_211)]
)
def test_the_default_width_is_the_published_one(name, count):
    method = privmed.registry.load("analyzer", name)
    with torch.device("meta"):
        assert parameters(method().network) == count


def test_the_default_cmunext_is_s():
    assert parameters(privmed.analyzer("cmunext", weights=None).network) == 417_505 + 2 * 9  # two more outputs


def test_frequencies_are_those_of_pywavelets():
    """L: the low band stretched to [0, 1]; H: the stretched high bands of the grey image, summed and stretched again."""
    image, _ = sample_images(2, size=(32, 64))

    def stretch(band):
        return (band - band.min()) / (band.max() - band.min())

    low, high = frequencies(image, "db2")
    for n, one in enumerate(image.numpy()):
        ll, _ = pywt.dwt2(one, "db2", mode="periodization")
        np.testing.assert_allclose(low[n], stretch(ll), atol=1e-5)
        _, bands = pywt.dwt2(one.mean(0), "db2", mode="periodization")
        np.testing.assert_allclose(high[n, 0], stretch(sum(stretch(b) for b in bands)), atol=1e-4)


def test_a_flat_image_has_frequencies_too():
    assert all(torch.isfinite(part).all() for part in frequencies(torch.full((1, 3, 32, 32), 0.5), "haar"))


def test_both_branches_of_xnet_decide():
    """The response changes with colours that the high frequencies do not see, and with detail that the low ones do not."""
    torch.manual_seed(0)
    xnet = privmed.analyzer("xnet", weights=None, width=2, wavelet="haar")
    heads = [xnet.network.low.head, xnet.network.high.head]
    image, _ = sample_images(1, size=(64, 64))
    whole = xnet.analyze(image, clamp=False)
    for head in heads:
        kept = head.bias.detach().clone()
        torch.nn.init.constant_(head.bias, 3.0)
        assert (xnet.analyze(image, clamp=False) - whole).abs().mean() > 1
        head.bias.data = kept


def test_a_misspelt_wavelet_is_answered():
    with pytest.raises(SettingsError, match="no discrete wavelet is called 'bd2'"):
        privmed.analyzer("xnet", weights=None, width=2, wavelet="bd2")


@pytest.mark.parametrize("name", SMALL)
def test_every_competitor_learns_as_the_pairs_of_the_paper_do(name):
    """A few joint steps of L_total, the response straight from the network, through the 8-bit wire and the hider's recover."""
    torch.manual_seed(0)
    analyzer = privmed.analyzer(name, weights=None, **SMALL[name]).train()
    hider = privmed.hider("lightih", weights=None, blocks=1)
    secret, cover = sample_images(2, size=(32, 32))
    mask = (secret.mean(1, keepdim=True) > 0.5).float()
    optimizer = torch.optim.Adam(analyzer.parameters(), 3e-3)
    losses = []
    for _ in range(5):
        response = analyzer.analyze(quantise(hider.hide(secret, cover)), clamp=False)
        logits = analyzer.decode(hider.recover(quantise(response), clamp=False), logits=True)
        losses.append(dice_ce(logits, mask) + 20 * (response - cover).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [*SMALL])
def test_an_untrained_network_answers_with_something_unless_its_answer_is_added_to_the_stego(name):
    """A head of zeros would have a baseline learn nothing at first; a network that adds to the stego begins with the stego."""
    stego = sample_images(1)[1][..., :64, :64]
    assert float(privmed.analyzer(name, weights=None, **SMALL[name]).analyze(stego, clamp=False).std()) > 0
    if name == "unet":
        added = privmed.analyzer(name, weights=None, residual=True, **SMALL[name])
        torch.testing.assert_close(added.analyze(stego), stego)


@pytest.mark.parametrize("name", SMALL)
def test_the_residual_is_the_stego(name):
    torch.manual_seed(0)
    without = privmed.analyzer(name, weights=None, **SMALL[name])
    added = privmed.analyzer(name, weights=None, residual=True, **SMALL[name])
    added.load_state_dict(without.state_dict())
    stego, _ = sample_images(1, size=(32, 32))
    change = added.analyze(stego, clamp=False) - without.analyze(stego, clamp=False)
    torch.testing.assert_close(change, stego, atol=1e-5, rtol=0)
