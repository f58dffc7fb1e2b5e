"""MoDC against its six-convolution formula, tap by tap (HideMIA, Eq. 2 and 3)."""

import pytest
import torch
from torch.nn import functional as F

from privmed.nn.modc import PLACES, Gate, MoDC, collapse_matrices


def reference_pixel(i, dx, dy):
    """The pixel that tap (dx, dy) is compared with, straight from the definition."""
    sign = lambda v: (v > 0) - (v < 0)  # noqa: E731
    s, d = sign(dx + dy), sign(dx - dy)
    return {1: (0, 0), 2: (dx, 0), 3: (0, dy), 4: (s, s), 5: (d, -d)}[i]


@pytest.mark.parametrize("i", PLACES)
def test_index_maps_follow_from_the_definition(i):
    for tap in range(9):
        dx, dy = tap % 3 - 1, tap // 3 - 1
        rx, ry = reference_pixel(i, dx, dy)
        assert PLACES[i][tap] == 3 * (ry + 1) + rx + 1


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = MoDC(6, 8, k=2).double()
    torch.nn.init.normal_(made.gate.mlp[2].weight)
    return made


def six_convolutions(layer, x, weights):
    """D0 - lambda * sum_i w_i D_i with D_i(x) computed by shifting: no merged kernel anywhere."""
    padded = F.pad(x, (1, 1, 1, 1))
    h, w = x.shape[-2:]

    def shifted(dx, dy):
        return padded[..., 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]

    out = F.conv2d(x, layer.weight, layer.bias, padding=1)
    for n, i in enumerate(PLACES):
        difference = 0
        for tap in range(9):
            dx, dy = tap % 3 - 1, tap // 3 - 1
            kernel = layer.weight[:, :, tap // 3, tap % 3]
            difference = difference + torch.einsum("oc,bchw->bohw", kernel, shifted(*reference_pixel(i, dx, dy)))
        out = out - layer.strength * weights[:, n].view(-1, 1, 1, 1) * difference
    return out


def test_merged_kernel_equals_six_convolutions(layer):
    x = torch.randn(3, 6, 9, 11, dtype=torch.float64)
    weights = torch.softmax(torch.randn(3, 5, dtype=torch.float64), 1)
    kernels = layer.merged(weights)
    mine = torch.cat([F.conv2d(a[None], k, layer.bias, padding=1) for a, k in zip(x, kernels)])
    torch.testing.assert_close(mine, six_convolutions(layer, x, weights), atol=1e-12, rtol=0)


def test_kernel_sums_are_kept(layer):
    """sum(T_i K) = sum(K), hence sum(K_b) = (1 - lambda) sum(K) for every gate value."""
    for kernel in layer.merged(torch.softmax(torch.randn(4, 5, dtype=torch.float64), 1)):
        torch.testing.assert_close(kernel.sum((2, 3)), (1 - layer.strength) * layer.weight.sum((2, 3)))
    assert torch.equal(collapse_matrices((1, 2, 3, 4, 5)).sum(1), torch.ones(5, 9))


def test_without_strength_it_is_the_vanilla_convolution_bit_for_bit():
    layer = MoDC(3, 4, strength=0.0)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))


def test_permuting_the_batch_permutes_the_output():
    layer = MoDC(3, 4)
    torch.nn.init.normal_(layer.gate.mlp[2].weight)
    x = torch.rand(3, 3, 8, 8)
    order = torch.tensor([2, 0, 1])
    assert torch.equal(layer(x[order]), layer(x)[order])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_gate_chooses_k(k):
    gate = Gate(16, 5, k)
    torch.nn.init.normal_(gate.mlp[2].weight)
    weights = gate(torch.rand(4, 16, 6, 6))
    assert ((weights > 0).sum(1) == k).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(4))


def test_gradient_reaches_the_gate():
    layer = MoDC(3, 4, k=2)
    layer(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert layer.gate.mlp[0].weight.grad.abs().max() > 0
