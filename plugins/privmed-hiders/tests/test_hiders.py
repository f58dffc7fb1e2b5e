"""What HiNet and LightIH promise beyond the conformance kit."""

from contextlib import nullcontext

import pytest
import torch
from privmed_hiders.hinet import CouplingBlock, DenseBlock, bands, image
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import privmed
from privmed.imaging.quantise import quantise
from privmed.testing import parametrize_with_checks, sample_images


@parametrize_with_checks("hider:lightih", blocks=2)
def test_lightih_conforms(method, check):
    check(method)


@parametrize_with_checks("hider:hinet", blocks=2)
def test_hinet_conforms(method, check):
    check(method)


def shaken(name="lightih", **settings):
    """A hider whose blocks do something."""
    hider = privmed.hider(name, weights=None, **settings)
    generator = torch.Generator().manual_seed(0)
    for p in hider.parameters():
        torch.nn.init.normal_(p, std=0.03, generator=generator)
    return hider


@pytest.mark.parametrize(("name", "parameters"), [("hinet", 4_050_240), ("lightih", 1_012_560)])
def test_parameters_are_those_of_the_paper(name, parameters):
    assert sum(p.numel() for p in privmed.hider(name, weights=None).parameters()) == parameters


def test_multiplications_are_those_of_the_paper():
    """At 224 x 224, one way: 49 times as many as at 32 x 32, and five convolutions of 84,380 parameters a sub-network."""
    assert sum(p.numel() for p in DenseBlock(12).parameters()) == 84_380
    x = torch.rand(1, 3, 32, 32)
    for name, published in (("hinet", 50_721_914_880), ("lightih", 12_680_478_720)):
        hider = privmed.hider(name, weights=None)
        with FlopCounterMode(display=False) as counter:
            hider.hide(x, x)
        assert 49 * counter.get_total_flops() // 2 == published


def test_a_scale_lies_between_the_exponentials_of_two():
    block, x = CouplingBlock(12, alpha=2.0), torch.zeros(1, 12, 4, 4)
    torch.testing.assert_close(block.log_scale(x, nullcontext), x)
    for raw, scale in ((1e3, 7.389), (-1e3, 0.1353)):
        torch.nn.init.constant_(block.rho.layers[-1].bias, raw)
        assert float(block.log_scale(x, nullcontext).exp().mean().detach()) == pytest.approx(scale, abs=1e-3)


def test_dense_block_equals_the_concatenating_form():
    block = DenseBlock(12).double()
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(0))
    x = torch.rand(2, 12, 9, 7, dtype=torch.float64)
    features = [x]
    for layer in block.layers[:-1]:
        features.append(F.leaky_relu(layer(torch.cat(features, 1)), 0.01))
    torch.testing.assert_close(block(x), block.layers[-1](torch.cat(features, 1)), atol=1e-12, rtol=0)


def test_untrained_network_is_the_identity():
    """conv5 starts at zero, so the stego's file is the cover's, and what comes back is the latent alone: nothing, as z = 0."""
    secret, cover = sample_images(1, size=(32, 48))
    hider, cover = privmed.hider("hinet", weights=None, blocks=3), quantise(cover)
    stego = hider.hide(secret, cover)
    assert torch.equal(quantise(stego), cover)
    assert not hider.recover(stego).any()


EMULATED = "without AVX-512 bfloat16 is emulated, by kernels that round otherwise, and nothing chooses it"


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [
        ("float32", 1e-4),
        pytest.param(
            "bf16",
            2e-2,
            marks=pytest.mark.skipif("AVX512" not in torch.backends.cpu.get_cpu_capability(), reason=EMULATED),
        ),
    ],
)
def test_inverse_undoes_forward_when_the_lost_information_is_kept(precision, tolerance):
    """In bf16 the coupling sees slightly different sub-network inputs both ways; published prototype: 3.5e-3."""
    hider = shaken(blocks=4)
    hider.precision = precision
    secret, cover = sample_images(2, size=(32, 48))
    with torch.no_grad():
        state = hider.encode(secret, cover)
        back = hider.run(hider.run(state, 0, hider.stages), hider.stages, 0)
    for before, after in zip(state, back):
        assert (before - after).abs().max() < tolerance


def test_stages_compose():
    """Stopping between blocks and going on is the same as going through: what function-aligned distillation needs."""
    hider = shaken(blocks=3)
    hider.precision = "float32"
    secret, cover = sample_images(1, size=(32, 32))
    with torch.no_grad():
        state = hider.encode(secret, cover)
        through = hider.run(state, 0, 3)
        halted = hider.run(hider.run(state, 0, 1), 1, 3)
    assert all(torch.equal(a, b) for a, b in zip(through, halted))


def test_scale_is_bounded_by_alpha():
    hider = shaken(alpha=0.5, blocks=1)
    block = hider.blocks[0]
    with torch.no_grad():
        u = block.log_scale(torch.randn(1, 12, 8, 8) * 1e3, hider.subnets)
    assert u.abs().max() <= 0.5


def test_log_scale_is_the_formula_of_the_paper():
    """alpha * (2 * sigmoid(rho) - 1) (HiNet, Eq. 2)."""
    hider = shaken(alpha=1.5, blocks=1)
    block, x = hider.blocks[0], torch.randn(1, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = 1.5 * (2 * torch.sigmoid(block.rho(x)) - 1)
        assert expected.abs().max() > 0.05
        torch.testing.assert_close(block.log_scale(x, nullcontext), expected, atol=1e-6, rtol=0)


def test_normal_latent_depends_on_the_seed_and_zero_does_not():
    stego, _ = sample_images(1)
    normal, zero = shaken(latent="normal", blocks=1), shaken(blocks=1)
    assert not torch.equal(normal.recover(stego, generator=1), normal.recover(stego, generator=2))
    assert torch.equal(zero.recover(stego, generator=1), zero.recover(stego, generator=2))


def test_bands_are_undone():
    x, _ = sample_images(1, size=(32, 34))
    torch.testing.assert_close(image(bands(x)), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "weights"), [("lightih", "general"), ("lightih", "broad"), ("hinet", "general")])
def test_bundled_weights_hide_and_give_back_after_8_bits(name, weights):
    """The shipped weights on images they have never seen: smooth shapes, through the 8-bit wire."""
    from privmed.imaging import quantise

    hider = privmed.hider(name, weights=weights)
    secret, cover = sample_images(1, size=(64, 64), seed=3)
    stego = quantise(hider.hide(secret, cover))
    recovered = hider.recover(stego)
    assert -10 * torch.log10((stego - cover).square().mean()) > 28
    assert -10 * torch.log10((recovered - secret).square().mean()) > 28


def test_large_images_are_hidden_tile_by_tile(monkeypatch):
    """Each tile by itself, at any size, in both directions: what is hidden is found again."""
    monkeypatch.setattr(type(privmed.hider("lightih", weights=None)), "tile", 64)
    hider = shaken(blocks=2)
    secret, cover = sample_images(1, size=(90, 161))
    stego = hider.hide(secret, cover)
    assert stego.shape == secret.shape
    assert torch.allclose(stego[..., :46, :54], hider.hide(secret[..., :46, :54], cover[..., :46, :54]), atol=2e-2)
    tiles = hider.recover(stego)[..., :46, :54]
    assert torch.allclose(tiles, hider.recover(stego[..., :46, :54]), atol=2e-2)


def test_how_far_a_large_image_is_counts_its_tiles(monkeypatch):
    monkeypatch.setattr(type(privmed.hider("lightih", weights=None)), "tile", 64)
    hider, told = shaken(blocks=1), []
    secret, cover = sample_images(1, size=(90, 161))
    tell = lambda done, total: told.append((done, total))  # noqa: E731
    stego = hider.hide(secret, cover, progress=tell)
    assert told == [(n, 6) for n in range(1, 7)]
    told.clear()
    hider.recover(stego, progress=tell)
    assert told == [(n, 6) for n in range(1, 7)]
    told.clear()
    hider.hide(secret[..., :64, :64], cover[..., :64, :64], progress=tell)  # nothing to wait for
    assert told == []
