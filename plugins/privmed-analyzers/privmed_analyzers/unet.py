"""U-Net: the plain baseline of covert analysis, and the segmenter of bare images that covert analysis is held against.

O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, with batch
normalisation and padding.

Idea: A U-Net takes the stego and puts out the response, whose hidden content is the answer. It sees the picture whole, without bands. On
bare images the same network is an ordinary segmenter, which is what covert analysis is held against.

Formula:
    response = U(stego)                          + stego, where `residual` says so
    answer = recover(response),  p = sigmoid(g (mean(answer) - t))

Weak at: stegos of any other hider than the one it was trained with; what it sends back resembles the cover less than HideMIA's response,
because nothing of the stego is kept unless `residual` says so.
"""

from __future__ import annotations

from attrs import frozen
from torch import nn

from privmed import hookimpl
from privmed.nn import unet
from privmed.settings import at_least, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


@frozen(kw_only=True)
class UNetConfig(PlainConfig):
    """Settings of :class:`UNet`."""

    width: int = setting(32, "channels of the first level; 64 in the paper", at_least(1))


class UNet(PlainAnalyzer):
    """U-Net of five levels."""

    name = "unet"
    Config = UNetConfig
    check_settings = {"width": 4}  # noqa: RUF012

    def build(self) -> nn.Module:
        return unet.UNet(width=self.config.width, silent=self.config.residual)


@hookimpl
def privmed_register(register) -> None:
    register(UNet)
