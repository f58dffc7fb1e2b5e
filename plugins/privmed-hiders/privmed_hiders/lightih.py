"""LightIH: HiNet with four blocks, light enough for the machine that holds the scan.

X. Lin et al., "HideMIA: Hidden Wavelet Mining for Privacy-Enhancing Medical Image Analysis", ACM MM 2024. The paper
distils it from HiNet; the bundled weights are trained directly (see their model card), on scans in photographs with the
8-bit rounding in the loop.

Idea: The clinic's machine is weak, so it gets a quarter of HiNet's blocks. Hiding and recovering still share every parameter, because the
blocks are undone exactly. In the paper a teacher of sixteen blocks hands over between the stages; here the small network was trained by
itself, through the rounding of the file that is sent. Untrained it changes nothing, which is a safe place to start from.

Formula:
    c' = c + phi(s),  s' = s exp(alpha (2 sigmoid(rho(c')) - 1)) + eta(c')     four times

Weak at: any re-encoding of the stego (JPEG, scaling, blur); detection, for which nothing has to be trained: the public weights run
backwards and a threshold tell its stegos, and servers' answers to them, from photographs (AUC 0.997 to 1.000). Whoever has the weights can
extract the scan.
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
    default_weights = "broad"


@hookimpl
def privmed_register(register) -> None:
    register(LightIH)
