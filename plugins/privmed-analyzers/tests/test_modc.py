"""MoDC against its six-convolution formula, tap by tap (HideMIA, Eq. 2 and 3)."""

import pytest
import torch
from privmed_analyzers.hidemia.modc import Gate, MoDC, collapse_matrices
from torch.nn import functional as F

# Row-major taps of a 3x3 kernel, found on paper: tap q of K adds to tap PLACES[i][q] of T_i K.
PLACES = {
    1: (4, 4, 4, 4, 4, 4, 4, 4, 4),
    2: (3, 4, 5, 3, 4, 5, 3, 4, 5),
    3: (1, 1, 1, 4, 4, 4, 7, 7, 7),
    4: (0, 0, 4, 0, 4, 8, 4, 8, 8),
    5: (4, 2, 2, 6, 4, 2, 6, 6, 4),
}


def reference_pixel(i, dx, dy, literal=False):
    """The pixel that tap (dx, dy) is compared with, straight from the definition."""
    s, d = dx + dy, dx - dy
    if not literal:
        s, d = ((v > 0) - (v < 0) for v in (s, d))
    return {1: (0, 0), 2: (dx, 0), 3: (0, dy), 4: (s, s), 5: (d, -d)}[i]


@pytest.mark.parametrize("i", PLACES)
def test_index_maps_are_those_found_on_paper(i):
    (matrix,) = collapse_matrices((i,))
    assert matrix.argmax(0).tolist() == list(PLACES[i])
    assert torch.equal(matrix.sum(0), torch.ones(9))


def test_a_centre_tap_is_left_alone_and_a_corner_moves_as_found_on_paper():
    assert collapse_matrices((1, 2, 3, 4, 5))[:, :, 4].argmax(1).tolist() == [4] * 5
    assert collapse_matrices((1, 2, 3, 4, 5))[:, :, 0].argmax(1).tolist() == [4, 3, 1, 0, 4]


def test_of_a_centre_tap_the_differences_take_what_they_may():
    """Every D_i is the kernel itself then: one minus lambda of the image is left, whatever the gate chose."""
    layer, x = MoDC(1, 1, k=2).double(), torch.rand(2, 1, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.zero_()[..., 1, 1] = 1
    change = layer(x) - (0 if layer.bias is None else layer.bias.view(1, -1, 1, 1))
    torch.testing.assert_close(change, (1 - layer.strength) * x, atol=1e-12, rtol=0)


@pytest.fixture(params=["projected", "literal"])
def layer(request):
    torch.manual_seed(0)
    made = MoDC(6, 8, k=2, diagonal=request.param).double()
    torch.nn.init.normal_(made.gate.mlp[2].weight)
    return made


def six_convolutions(layer, x, weights):
    """D0 - lambda * sum_i w_i D_i with D_i(x) computed by shifting: no merged kernel anywhere."""
    padded = F.pad(x, (2, 2, 2, 2))
    h, w = x.shape[-2:]

    def shifted(dx, dy):
        return padded[..., 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w]

    out = F.conv2d(x, layer.weight, layer.bias, padding=1)
    for n, i in enumerate(PLACES):
        difference = 0
        for tap in range(9):
            dx, dy = tap % 3 - 1, tap // 3 - 1
            kernel = layer.weight[:, :, tap // 3, tap % 3]
            difference = difference + torch.einsum(
                "oc,bchw->bohw", kernel, shifted(*reference_pixel(i, dx, dy, layer.reach == 2))
            )
        out = out - layer.strength * weights[:, n].view(-1, 1, 1, 1) * difference
    return out


def test_one_convolution_equals_six(layer):
    x = torch.randn(3, 6, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(layer(x), six_convolutions(layer, x, layer.gate(x).double()), atol=1e-12, rtol=0)


def test_kernel_sums_are_kept(layer):
    """sum(T_i K) = sum(K), hence sum(K_b) = (1 - lambda) sum(K) for every gate value."""
    for kernel in layer.merged(torch.softmax(torch.randn(4, 5, dtype=torch.float64), 1)):
        torch.testing.assert_close(kernel.sum((2, 3)), (1 - layer.strength) * layer.weight.sum((2, 3)))
    for reach in (1, 2):
        assert torch.equal(collapse_matrices((0, 1, 2, 3, 4, 5), reach).sum(1), torch.ones(6, 9))


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


def test_gate_is_a_softmax_over_the_largest():
    gate, x = Gate(16, 5, 2), torch.rand(4, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(gate.mlp[2].weight, generator=torch.Generator().manual_seed(1))
    logits, weights = gate.mlp(x.mean((2, 3))), gate(x)
    largest = logits.topk(2, dim=1)
    torch.testing.assert_close(weights.gather(1, largest.indices), largest.values.softmax(1))


def test_flat_regions_do_not_feel_the_gate(layer):
    """Inside a constant image the answer is (1 - lambda) times that of the vanilla convolution (bias aside)."""
    x = torch.full((1, 6, 9, 9), 0.7, dtype=torch.float64)
    inside = (..., slice(2, -2), slice(2, -2))
    bias = layer.bias.view(-1, 1, 1)
    vanilla = F.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close((layer(x) - bias)[inside], (1 - layer.strength) * vanilla[inside])


def test_literal_diagonals_need_a_wider_kernel_only_if_there_are_any():
    assert MoDC(2, 2, diagonal="literal").reach == 2
    assert MoDC(2, 2, diagonal="literal", candidates=(1, 2, 3)).reach == 1


def test_gradient_reaches_the_gate():
    layer = MoDC(3, 4, k=2)
    layer(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert layer.gate.mlp[0].weight.grad.abs().max() > 0
