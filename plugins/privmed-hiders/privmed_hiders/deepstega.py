"""DeepStega: hide and reveal with plain convolutions at full resolution, kernels of three sizes side by side.

S. Baluja, "Hiding Images in Plain Sight: Deep Steganography", NIPS 2017, in the size that HideMIA's Table 7 counts: 50 kernels of
3 x 3, 10 of 4 x 4 and 5 of 5 x 5 a level. Names follow the paper: the preparation, the hiding and the reveal network; its beta is
`loss.secret` of a recipe.

Idea: A preparation network turns the secret into features, a hiding network puts them into the cover, a reveal network takes them out
again. All three are trained together on the sum of two errors, of the stego and of what is revealed. Each level looks through kernels of
three sizes at once. The secret ends up spread over all colours and bits of the stego.

Formula:
    stego = H(cover, P(secret)),  recovered = R(stego)
    loss = |cover - stego|^2 + beta |secret - recovered|^2

Weak at: any re-encoding of the stego (JPEG, scaling, blur); detection by a classifier trained on its stegos; whoever has the weights can
extract the scan. Its bundled weights come out of a short training: they change photographs by 25 to 33 dB, which can be seen, and scans
come back at 22 to 28 dB, where LightIH has 33 to 45. On scans of polyps, glands and nuclei (22 to 25 dB, not refined) `privmed hide`, which
asks for 25, may write nothing.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import Hider, hookimpl
from privmed.settings import at_least, setting
from privmed_hiders.patches import PLAIN_SIDE, patchwise

KERNELS = {3: 50, 4: 10, 5: 5}  # side: how many
WIDTH = sum(KERNELS.values())
REACH = 2  # of a level


@frozen(kw_only=True)
class DeepStegaConfig:
    """Settings of :class:`DeepStega`; the defaults are those that the figures of HideMIA's Table 7 tell; neither paper prints them."""

    levels: int = setting(5, "levels of the hiding and of the reveal network", at_least(1))
    preparation: int = setting(2, "levels of the preparation network", at_least(1))


class Level(nn.Module):
    """Three convolutions of the same input, each with ReLU, side by side: (B, inputs, H, W) to (B, 65, H, W)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(inputs, n, side, padding=(side - 1) // 2) for side, n in KERNELS.items()
        )
        for branch in self.branches:
            nn.init.kaiming_normal_(branch.weight, nonlinearity="relu")
            nn.init.zeros_(branch.bias)
        pass_image(self.branches[0])

    def forward(self, x: Tensor) -> Tensor:
        three, four, five = (branch(x) for branch in self.branches)
        four = F.pad(four, (0, 1, 0, 1))  # an even kernel leaves a row and a column less
        return F.relu(torch.cat([three, four, five], 1))


class Network(nn.Module):
    """Levels and a last convolution to an image, (B, inputs, H, W) to (B, 3, H, W), in float32 at the end and without bounds."""

    def __init__(self, inputs: int, levels: int) -> None:
        super().__init__()
        self.levels = chain(inputs, levels)
        self.last = nn.Conv2d(WIDTH, 3, 3, padding=1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        pass_image(self.last)


def chain(inputs: int, levels: int) -> nn.Sequential:
    """Levels one after the other."""
    return nn.Sequential(*(Level(n) for n in [inputs, *[WIDTH] * (levels - 1)]))


@torch.no_grad()
def pass_image(layer: nn.Conv2d) -> None:
    """Let the first three channels begin near the identity, so that an untrained network gives back roughly its image."""
    layer.weight[:3] *= 0.1
    layer.weight[:3] += nn.init.dirac_(torch.empty_like(layer.weight[:3]))


class DeepStega(Hider):
    """Three networks trained together; 488,661 parameters."""

    name = "deepstega"
    Config = DeepStegaConfig
    default_weights = "general"
    multiple = 1
    tile = 1024

    def __init__(self, config: DeepStegaConfig | None = None) -> None:
        super().__init__(config)
        self.preparation = chain(3, self.config.preparation)
        self.hiding = Network(3 + WIDTH, self.config.levels)
        self.reveal = Network(3, self.config.levels)
        self.to(memory_format=torch.channels_last)

    def _image(self, network: Network, features: Tensor) -> Tensor:
        with self.subnets():
            features = network.levels(features)
        return network.last(features.float())  # bfloat16 would round the image to 8 bits once more

    def _hidden(self, both: Tensor) -> Tensor:
        secret, cover = both.split(3, 1)
        with self.subnets():
            prepared = self.preparation(secret.contiguous(memory_format=torch.channels_last))
        return self._image(self.hiding, torch.cat([cover, prepared], 1).contiguous(memory_format=torch.channels_last))

    def _revealed(self, stego: Tensor) -> Tensor:
        return self._image(self.reveal, stego)

    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        both = torch.cat([secret, cover], 1).contiguous(memory_format=torch.channels_last)
        return patchwise(self._hidden, both, REACH * (self.config.preparation + self.config.levels) + 1, PLAIN_SIDE)

    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        stego = stego.contiguous(memory_format=torch.channels_last)
        return patchwise(self._revealed, stego, REACH * self.config.levels + 1, PLAIN_SIDE)


@hookimpl
def privmed_register(register) -> None:
    register(DeepStega)
