"""Speed, as ratios within one run: ``python benchmarks/speed.py`` (or ``pytest benchmarks/test_speed.py`` for the raw table).

Every pair is measured interleaved on the same inputs. Nothing here asserts a time: a busy machine is not a failing test.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from privmed_hiders.hinet import CouplingBlock
from torch import Tensor, nn
from torch.nn import functional as F

import privmed
from privmed.imaging import quantise

SIZE = 224
SCAN, PHOTO = (torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(i)) for i in range(2))


class Concatenating(nn.Module):
    """The dense block as it is printed: concatenate, convolve, in float32 and in the default memory order."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block.layers)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers[:-1]:
            features.append(F.leaky_relu(layer(torch.cat(features, 1)), 0.01))
        return self.layers[-1](torch.cat(features, 1))


def hider(name: str, precision: str, printed: bool = False) -> privmed.Hider:
    """A hider with random weights that do something."""
    made = privmed.hider(name, weights=None)
    made.precision = precision
    for p in made.parameters():
        nn.init.normal_(p, std=0.01)
    if printed:
        for block in made.modules():
            if isinstance(block, CouplingBlock):
                block.phi, block.rho, block.eta = (Concatenating(b) for b in (block.phi, block.rho, block.eta))
        made.to(memory_format=torch.contiguous_format)
    return made


def step(method: privmed.Hider) -> None:
    """One training step of a hider on 8 crops of 64 pixels, without the optimizer."""
    secret, cover = torch.rand(8, 3, 64, 64), torch.rand(8, 3, 64, 64)
    how = {"clamp": False, "check_values": False}
    stego = method.hide(secret, cover, **how)
    recovered = method.recover(quantise(stego), **how)
    (F.mse_loss(stego, cover) + F.mse_loss(recovered, secret)).backward()


HIDE = {
    "hinet as printed, float32": ("hinet", "float32", True),
    "hinet, float32": ("hinet", "float32", False),
    "hinet, bf16": ("hinet", "bf16", False),
    "lightih, float32": ("lightih", "float32", False),
    "lightih, bf16": ("lightih", "bf16", False),
}


@pytest.mark.parametrize("name", HIDE)
def test_hide(benchmark, name):
    made = hider(*HIDE[name])
    benchmark.pedantic(lambda: made.hide(SCAN, PHOTO), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("printed", [True, False], ids=["as printed", "pushed"])
def test_training_step(benchmark, printed):
    made = hider("lightih", "auto", printed).train()
    benchmark.pedantic(step, (made,), rounds=4, warmup_rounds=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_matrix_product(benchmark, dtype):
    x = torch.rand(1536, 1536).to(dtype)
    benchmark.pedantic(lambda: x @ x, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize(
    "what", ["import privmed", "import torch", "from privmed.cli import run; run(['plugins', '-q'])"]
)
def test_start(benchmark, what):
    benchmark.pedantic(lambda: subprocess.run([sys.executable, "-c", what], check=True), rounds=5, warmup_rounds=1)
