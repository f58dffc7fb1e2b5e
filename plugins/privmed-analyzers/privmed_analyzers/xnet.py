"""XNet: one U-shaped branch on the low, one on the high frequencies of an image, fused at their two deepest levels.

Y. Zhou et al., "XNet: Wavelet-Based Low and High Frequency Fusion Networks for Fully- and Semi-Supervised Semantic Segmentation of
Biomedical Images", ICCV 2023. How two maps of half the side became one response is not said by HideMIA: here it is their mean, scaled up.
The paper's consistency between the branches is a loss on labels, which a response has none of.

Idea: Low frequencies hold shapes, high ones edges, and each deserves a branch of its own. A wavelet transform splits the image, two
U-shaped branches work on the parts, and they exchange what they know at their deepest levels. Both give a map.

Formula:
    L = LL,  H = LH + HL + HH                    of the stego, in colour and in grey
    response = up((U_L(L, H) + U_H(H, L)) / 2)

Weak at: stegos of any other hider than the one it was trained with; on a processor it takes far longer than the plain U-Net, and a narrower
one stands in for the paper's. No weights come with it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import hookimpl
from privmed.imaging.wavelets import analysis, filter_bank
from privmed.nn.unet import LEVELS
from privmed.settings import at_least, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


@frozen(kw_only=True)
class XNetConfig(PlainConfig):
    """Settings of :class:`XNet`; the defaults are the paper's, a processor can train width 8."""

    width: int = setting(64, "channels of the first level of each branch", at_least(1))
    wavelet: str = setting("db2", "wavelet of PyWavelets that parts the frequencies, or haar")


def frequencies(x: Tensor, wavelet: str) -> tuple[Tensor, Tensor]:
    """L and H of the paper: the low band in colour, (B, 3, H/2, W/2), and the sum of the grey high bands, (B, 1, H/2, W/2)."""
    low = analysis(x, wavelet).ll
    _, *high = analysis(x.mean(1, keepdim=True), wavelet)
    return stretched(low), stretched(sum(stretched(band) for band in high))


def stretched(x: Tensor) -> Tensor:
    """Each image of (B, C, H, W) stretched to [0, 1], its channels together."""
    least, most = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - least) / (most - least).clamp_min(1e-6)


def conv(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, or divides it by the stride."""
    return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)


def conv_norm(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    """The same with batch normalisation and ReLU."""
    return nn.Sequential(conv(inputs, outputs, side, stride), nn.BatchNorm2d(outputs), nn.ReLU())


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(inputs, outputs), conv(outputs, outputs), nn.BatchNorm2d(outputs))
        same = inputs == outputs
        self.shortcut = nn.Sequential() if same else nn.Sequential(conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        return F.relu(self.body(x) + self.shortcut(x))


def two_blocks(inputs: int, outputs: int) -> nn.Sequential:
    """The body of a level."""
    return nn.Sequential(BasicBlock(inputs, outputs), BasicBlock(outputs, outputs))


class Up(nn.Sequential):
    """Twice the sides, bilinear, and a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Branch(nn.Module):
    """One U of the two, in three parts: :meth:`down` to what it shares, :meth:`fuse` with the other's, :meth:`climb`."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        w = [width * 2**i for i in range(LEVELS)]
        fourth, fifth = w[3:]
        self.stem = nn.Sequential(conv(inputs, width), conv(width, width), BasicBlock(width, width))
        self.strided = nn.ModuleList(conv_norm(a, b, stride=2) for a, b in pairwise(w))
        self.bodies = nn.ModuleList(two_blocks(c, c) for c in w[1:])
        self.before = two_blocks(fourth, fourth)
        self.fourth_same, self.fourth_down = conv_norm(fourth, fourth), conv_norm(fourth, fourth, stride=2)
        self.fifth_same, self.fifth_up = conv_norm(fifth, fifth), Up(fifth, fifth)
        self.fourth_join = nn.Sequential(conv_norm(2 * fourth + fifth, fourth, 1), two_blocks(fourth, fourth))
        self.fifth_join = nn.Sequential(conv_norm(2 * fifth + fourth, fifth, 1), two_blocks(fifth, fifth))
        self.ups = nn.ModuleList(Up(b, a) for a, b in reversed(list(pairwise(w))))
        self.decoder = nn.ModuleList(two_blocks(2 * c, c) for c in reversed(w[:-1]))
        self.head = nn.Conv2d(width, outputs, 1)

    def down(self, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Features of the first three levels, and what both branches are given of the last two."""
        features = [self.stem(x)]
        for strided, body in zip(self.strided, self.bodies):
            features.append(body(strided(features[-1])))
        *skips, fourth, fifth = features
        fourth = self.before(fourth)
        shared = {
            "fourth": self.fourth_same(fourth),
            "fourth_down": self.fourth_down(fourth),
            "fifth": self.fifth_same(fifth),
            "fifth_up": self.fifth_up(fifth),
        }
        return skips, shared

    def fuse(self, own: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The fourth and fifth level, from those of both branches and the other's neighbouring level."""
        fourth = self.fourth_join(torch.cat([own["fourth"], other["fourth"], other["fifth_up"]], 1))
        fifth = self.fifth_join(torch.cat([own["fifth"], other["fifth"], other["fourth_down"]], 1))
        return fourth, fifth

    def climb(self, skips: list[Tensor], fourth: Tensor, fifth: Tensor) -> Tensor:
        """The decoder, to (B, outputs, H, W)."""
        x = fifth
        for up, body, skip in zip(self.ups, self.decoder, [fourth, *reversed(skips)]):
            x = body(torch.cat([skip, up(x)], 1))
        return self.head(x)


class Network(nn.Module):
    """Both branches; H and W must be multiples of 32.

    Args:
        inputs, outputs: channels of the image and of the output.
        width: channels of the first level of each branch.
        wavelet: what parts the frequencies.
    """

    def __init__(self, inputs: int, outputs: int, width: int, wavelet: str = "db2") -> None:
        super().__init__()
        if wavelet != "haar":
            filter_bank(wavelet)  # a misspelt one is answered now
        self.wavelet = wavelet
        self.low, self.high = Branch(inputs, outputs, width), Branch(1, outputs, width)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        with torch.autocast(x.device.type, enabled=False):  # the transform stays exact
            low, high = frequencies(x.float(), self.wavelet)
        (skips, own), (others_skips, others) = self.low.down(low), self.high.down(high)
        first = self.low.climb(skips, *self.low.fuse(own, others))
        second = self.high.climb(others_skips, *self.high.fuse(others, own))
        return F.interpolate((first + second) / 2, scale_factor=2.0, mode="bilinear", align_corners=False)


class XNet(PlainAnalyzer):
    """Low and high frequencies in two branches."""

    name = "xnet"
    Config = XNetConfig
    check_settings = {"width": 2}  # noqa: RUF012

    def build(self) -> nn.Module:
        return Network(3, 3, self.config.width, self.config.wavelet)


@hookimpl
def privmed_register(register) -> None:
    register(XNet)
