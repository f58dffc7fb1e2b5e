"""U-Net++: a U-Net whose skips are chains of blocks, each fed by all before it.

Z. Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018, without deep supervision.

Idea: What the encoder knows and what the decoder needs lie far apart at the upper levels. So each skip becomes a chain of blocks, and each
block gets all before it and what comes up from the level below. The last node of the first level is the output.

Formula:
    x(i, 0) = block(pool(x(i-1, 0)))
    x(i, j) = block(x(i, 0), ..., x(i, j-1), up(x(i+1, j-1)))     i: level, j: place in the chain

Weak at: stegos of any other hider than the one it was trained with; on a processor it takes far longer than the plain U-Net, and a narrower
one stands in for the paper's. No weights come with it.
"""

from __future__ import annotations

from attrs import frozen
from torch import nn

from privmed import hookimpl
from privmed.nn import unetpp
from privmed.settings import at_least, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


@frozen(kw_only=True)
class UNetPlusPlusConfig(PlainConfig):
    """Settings of :class:`UNetPlusPlus`; the default is the paper's, a processor can train 8."""

    width: int = setting(32, "channels of the first level", at_least(1))


class UNetPlusPlus(PlainAnalyzer):
    """Nested U-Net, read from its last node."""

    name = "unet++"
    Config = UNetPlusPlusConfig
    check_settings = {"width": 2}  # noqa: RUF012

    def build(self) -> nn.Module:
        return unetpp.UNetPlusPlus(3, 3, self.config.width)


@hookimpl
def privmed_register(register) -> None:
    register(UNetPlusPlus)
