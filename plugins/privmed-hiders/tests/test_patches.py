"""Large images patch by patch: the values of the whole, whatever the sides."""

import pytest
import torch
from privmed_hiders import patches
from privmed_hiders.hinet import LAYERS, DenseBlock

import privmed
from privmed.shared_key import with_key


def drawn(block: torch.nn.Module) -> torch.nn.Module:
    """With weights through which every layer changes every pixel that it reaches."""
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return block


def calls(network, sizes):
    def noted(x):
        sizes.append(tuple(x.shape))
        return network(x)

    return noted


@pytest.mark.parametrize("shape", [(1, 12, 40, 33), (3, 12, 17, 50), (5, 12, 8, 8), (2, 12, 64, 3)])
def test_a_dense_block_gives_the_values_of_the_whole(shape):
    torch.manual_seed(0)
    block, x, seen = drawn(DenseBlock(12)), torch.randn(shape), []
    with torch.no_grad():
        whole = block._convolved(x)
        parts = patches.patchwise(calls(block._convolved, seen), x, LAYERS, side=8)
    assert len(seen) > 1
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    assert all(h <= 8 + 2 * LAYERS and w <= 8 + 2 * LAYERS for _, _, h, w in seen)
    assert all(n * min(h, 8) * min(w, 8) <= 8 * 8 or n == 1 for n, _, h, w in seen)


def test_less_around_a_patch_than_the_network_sees_would_show():
    torch.manual_seed(0)
    block, x = drawn(DenseBlock(12)), torch.randn(1, 12, 40, 40)
    with torch.no_grad():
        whole, parts = block._convolved(x), patches.patchwise(block._convolved, x, LAYERS - 1, side=8)
    assert (parts - whole).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["hinet", "lightih", "lightih-keyed", "hidden", "deepstega"])
def test_every_hider_hides_and_recovers_alike(name, monkeypatch):
    torch.manual_seed(0)
    hider = with_key(privmed.hider(name))
    hider.precision = "float32"
    secret, cover = torch.rand(2, 2, 3, 70, 90)
    stego = hider.hide(secret, cover)
    recovered = hider.recover(stego)
    monkeypatch.setattr(patches, "SIDE", 16)
    for module in ("hidden", "deepstega"):
        monkeypatch.setattr(f"privmed_hiders.{module}.PLAIN_SIDE", 24)
    torch.testing.assert_close(hider.hide(secret, cover), stego, rtol=0, atol=1e-4)
    torch.testing.assert_close(hider.recover(stego), recovered, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["hidden", "deepstega"])
@pytest.mark.parametrize("step", ["hide", "recover"])
def test_plain_hiders_see_no_further_than_they_say(name, step, monkeypatch):
    """Untrained networks see as far as they can, which trained ones hardly do."""
    torch.manual_seed(0)
    hider = privmed.hider(name, weights=None)
    for parameter in hider.parameters():
        if parameter.ndim == 4:  # no channel is passed on as it is
            torch.nn.init.kaiming_normal_(parameter)
    secret, cover = torch.rand(2, 1, 3, 66, 70)

    def made():
        images = (secret, cover) if step == "hide" else (secret,)
        with torch.no_grad():
            return getattr(hider, f"_{step}")(*images, None)

    whole = made()
    monkeypatch.setattr(f"privmed_hiders.{name}.PLAIN_SIDE", 24)
    torch.testing.assert_close(made(), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_batch_normalisation_in_training_sees_the_whole(monkeypatch):
    torch.manual_seed(0)
    hider = privmed.hider("hidden").train()
    stego, before = torch.rand(1, 3, 66, 70), hider.state_dict()
    before = {k: v.clone() for k, v in before.items()}
    with torch.no_grad():
        whole = hider._recover(stego, None)
    hider.load_state_dict(before)
    monkeypatch.setattr("privmed_hiders.hidden.PLAIN_SIDE", 24)
    with torch.no_grad():
        assert torch.equal(hider._recover(stego, None), whole)


def test_a_network_that_learns_is_called_once():
    block, seen = DenseBlock(12), []
    patches.patchwise(calls(block._convolved, seen), torch.rand(1, 12, 40, 40), LAYERS, side=8)
    assert seen == [(1, 12, 40, 40)]
