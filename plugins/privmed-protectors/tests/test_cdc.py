"""Central difference convolution against its definition."""

from __future__ import annotations

import torch
from privmed_protectors.umed.cdc import CentralDifference
from torch.nn import functional as F

from privmed.nn.unet import UNet


def test_one_convolution_does_the_work_of_two():
    torch.manual_seed(0)
    layer = CentralDifference(3, 5).double()
    x = torch.rand(2, 3, 19, 23, dtype=torch.float64)
    windows = F.unfold(x, 3, padding=1).view(2, 3, 9, -1)
    centres = x.view(2, 3, 1, -1)
    w_v, w_c = (w.detach().view(5, 3, 9) for w in (layer.w_v, layer.w_c))
    printed = torch.einsum("ock,bckn->bon", w_v, windows) + torch.einsum("ock,bckn->bon", w_c, windows - centres)
    printed = printed.view(2, 5, 19, 23) + layer.bias.detach().view(1, 5, 1, 1)
    assert (layer(x) - printed).abs().max() < 1e-12


def test_differences_alone_do_not_see_a_flat_image():
    layer = CentralDifference(1, 4)
    torch.nn.init.zeros_(layer.w_v)
    torch.nn.init.zeros_(layer.bias)
    assert layer(torch.full((1, 1, 20, 20), 0.7))[..., 1:-1, 1:-1].abs().max() < 1e-6


def test_parameters_of_the_papers_network():
    network = UNet(3, 3, 64, CentralDifference)
    assert sum(p.numel() for p in network.parameters()) == 49_882_883
    assert sum(p.numel() for p in UNet(3, 3, 64).parameters()) == 31_043_651
