"""Attention U-Net: a U-Net whose skips pass through gates that the decoder opens.

O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.

Idea: Not all that a skip carries matters to the lesion. So a gate on each skip compares it with what the decoder has found so far, one
level deeper, and lets through what agrees. The rest is a U-Net.

Formula:
    gate = sigmoid(psi(relu(W_x x + W_g g)))     x: the skip, g: what the level below has found
    skip = gate * x

Weak at: stegos of any other hider than the one it was trained with; on a processor it takes far longer than the plain U-Net, and a narrower
one stands in for the paper's. No weights come with it.
"""

from __future__ import annotations

from attrs import frozen
from torch import nn

from privmed import hookimpl
from privmed.nn import attention_unet
from privmed.settings import at_least, setting
from privmed_analyzers.plain import PlainAnalyzer, PlainConfig


@frozen(kw_only=True)
class AttentionUNetConfig(PlainConfig):
    """Settings of :class:`AttentionUNet`; the default is the usual width, a processor can train 16."""

    width: int = setting(64, "channels of the first level", at_least(1))


class AttentionUNet(PlainAnalyzer):
    """U-Net with an additive gate on each skip."""

    name = "attention-unet"
    Config = AttentionUNetConfig
    check_settings = {"width": 2}  # noqa: RUF012

    def build(self) -> nn.Module:
        return attention_unet.AttentionUNet(3, 3, self.config.width)


@hookimpl
def privmed_register(register) -> None:
    register(AttentionUNet)
