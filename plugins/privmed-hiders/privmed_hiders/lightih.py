"""LightIH: HiNet with four blocks, light enough for the machine that holds the scan.

X. Lin et al., "HideMIA: Hidden Wavelet Mining for Privacy-Enhancing Medical Image Analysis", ACM MM 2024. The paper
distils it from HiNet; the bundled weights are trained directly (see their model card), on scans in photographs with the
8-bit rounding in the loop.
"""

from __future__ import annotations

from attrs import frozen

from privmed import hookimpl
from privmed.settings import at_least, setting
from privmed_hiders.hinet import HiNet, HiNetConfig


@frozen(kw_only=True)
class LightIHConfig(HiNetConfig):
    """Settings of :class:`LightIH`."""

    blocks: int = setting(4, "invertible blocks", at_least(1))


class LightIH(HiNet):
    """Four invertible blocks; 1,012,560 parameters. Untrained it is the identity: the stego is the cover."""

    name = "lightih"
    Config = LightIHConfig
    default_weights = "general"


@hookimpl
def privmed_register(register) -> None:
    register(LightIH)
