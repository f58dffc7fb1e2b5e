"""HiNet: hide an image in another with an invertible network in the Haar domain.

J. Jing, X. Deng, M. Xu, J. Wang, Z. Guan, "HiNet: Deep Image Hiding by Invertible Network", ICCV 2021. Names follow the
paper: phi, rho and eta are the sub-networks of a block, alpha bounds its log-scale, z is the latent that replaces the lost
information r.
"""

from __future__ import annotations

from attrs import frozen

from privmed import hookimpl
from privmed.settings import at_least, setting
from privmed_hiders.invertible import InvertibleConfig, InvertibleHider


@frozen(kw_only=True)
class HiNetConfig(InvertibleConfig):
    """Settings of :class:`HiNet`: the paper's, but for the latent (z = 0 gives the same answer every time)."""

    blocks: int = setting(16, "invertible blocks", at_least(1))


class HiNet(InvertibleHider):
    """Sixteen invertible blocks; 4,050,240 parameters. Untrained it is the identity: the stego is the cover."""

    name = "hinet"
    Config = HiNetConfig
    default_weights = "general"


@hookimpl
def privmed_register(register) -> None:
    register(HiNet)
