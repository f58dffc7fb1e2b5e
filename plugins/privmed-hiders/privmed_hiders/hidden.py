"""HiDDeN: hide and recover with chains of 3 x 3 convolutions, batch normalisation and ReLU at full resolution.

J. Zhu, R. Kaplan, J. Johnson, L. Fei-Fei, "HiDDeN: Hiding Data With Deep Networks", ECCV 2018, made to hide images as in the
comparison of HideMIA's Table 7: the secret takes the place of the message, which the paper repeats over the plane. Names follow the
paper: encoder and decoder; the discriminator of its adversarial loss is a part of training (`loss.adversarial` of a recipe).

Idea: An encoder makes features of the cover, and the secret stands beside them, repeated, for more convolutions to mix in. A decoder of its
own reads the secret out of the result. A third network learns to tell stegos from covers while both are trained, and they learn to deceive
it. Nothing is invertible, so what comes back is a guess that the decoder has learnt to make.

Formula:
    stego = E(cover, secret),  recovered = D(stego)
    loss = lambda_I |cover - stego|^2 + |secret - recovered|^2 + lambda_G log(1 - A(stego))
    A, the discriminator, goes down log(1 - A(cover)) + log A(stego)

Weak at: any re-encoding of the stego (JPEG, scaling, blur); detection by a classifier trained on its stegos; whoever has the weights can
extract the scan. Its bundled weights come out of a short training: they change photographs by 24 to 30 dB, which can be seen, and scans
come back at 24 to 31 dB, where LightIH has 33 to 45. On scans of glands (24.7 dB and less, not refined) `privmed hide`, which asks for 25,
may write nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Hider, hookimpl
from privmed.nn.convolution import conv_bn_relu
from privmed.settings import at_least, setting
from privmed_hiders.patches import PLAIN_SIDE, patchwise


@frozen(kw_only=True)
class HiDDeNConfig:
    """Settings of :class:`HiDDeN`; the defaults are those of the comparison."""

    width: int = setting(64, "channels of every block", at_least(1))
    repeats: int = setting(11, "how often the secret is repeated beside the cover's features", at_least(1))
    before: int = setting(4, "blocks of the encoder before the secret comes in", at_least(1))
    after: int = setting(5, "blocks of the encoder after it", at_least(1))
    decoder: int = setting(8, "blocks of the decoder", at_least(1))


def chain(inputs: int, width: int, blocks: int) -> nn.Sequential:
    """Blocks one after the other, (B, inputs, H, W) to (B, width, H, W)."""
    return nn.Sequential(*(conv_bn_relu(n, width) for n in [inputs, *[width] * (blocks - 1)]))


class HiDDeN(Hider):
    """An encoder and a decoder; 582,342 parameters."""

    name = "hidden"
    Config = HiDDeNConfig
    default_weights = "general"
    multiple = 1
    tile = 1024

    def __init__(self, config: HiDDeNConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.before = chain(3, c.width, c.before)
        self.after = chain(3 * c.repeats + c.width + 3, c.width, c.after)
        self.to_stego = nn.Conv2d(c.width, 3, 1)
        self.decoder = chain(3, c.width, c.decoder)
        self.to_secret = nn.Conv2d(c.width, 3, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        both = torch.cat([secret, cover], 1).contiguous(memory_format=torch.channels_last)
        return self._patchwise(self._encoded, both, self.config.before + self.config.after)

    def _patchwise(self, network: Callable[[Tensor], Tensor], x: Tensor, reach: int) -> Tensor:
        """Patch by patch, but where batch normalisation takes its mean over the whole."""
        return network(x) if self.training else patchwise(network, x, reach, PLAIN_SIDE)

    def _encoded(self, both: Tensor) -> Tensor:
        secret, cover = both.split(3, 1)
        with self.subnets():
            features = self.before(cover)
            features = self.after(torch.cat([secret.repeat(1, self.config.repeats, 1, 1), features, cover], 1))
        return self.to_stego(features.float())  # bfloat16 would round the image to 8 bits once more

    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        stego = stego.contiguous(memory_format=torch.channels_last)
        return self._patchwise(self._decoded, stego, self.config.decoder + 1)

    def _decoded(self, stego: Tensor) -> Tensor:
        with self.subnets():
            features = self.decoder(stego)
        return self.to_secret(features.float())


@hookimpl
def privmed_register(register) -> None:
    register(HiDDeN)
