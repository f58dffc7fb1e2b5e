"""TransUNet: a residual network, a vision transformer on its last map, and a U-shaped decoder.

J. Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation", 2021 (R50-ViT-B/16), trained from scratch.

Idea: Convolutions find detail, attention sees the whole. So a residual network makes a coarse map, a transformer lets each of its places
ask all others, and a decoder with skips brings the detail back.

Formula:
    z_0 = E x + E_pos                            x: places of the residual network's last map
    z'  = attention(norm(z_i)) + z_i
    z_(i+1) = mlp(norm(z')) + z'

Weak at: stegos of any other hider than the one it was trained with; on a processor it takes far longer than the plain U-Net, and a narrower
one stands in for the paper's. No weights come with it.
"""

from __future__ import annotations

from attrs import frozen
from torch import nn

from privmed import hookimpl
from privmed.nn import transunet
from privmed.settings import at_least, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


@frozen(kw_only=True)
class TransUNetConfig(PlainConfig):
    """Settings of :class:`TransUNet`; the defaults are the paper's, a processor can train width 16 and depth 4."""

    width: int = setting(64, "channels of the first convolution; tokens have 12 times as many", at_least(2))
    depth: int = setting(12, "transformer blocks", at_least(1))


class TransUNet(PlainAnalyzer):
    """The hybrid of the paper."""

    name = "transunet"
    Config = TransUNetConfig
    check_settings = {"width": 4, "depth": 1}  # noqa: RUF012

    def build(self) -> nn.Module:
        return transunet.TransUNet(3, 3, self.config.width, depth=self.config.depth)


@hookimpl
def privmed_register(register) -> None:
    register(TransUNet)
