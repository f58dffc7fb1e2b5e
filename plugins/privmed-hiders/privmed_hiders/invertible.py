"""What HiNet and LightIH share: an invertible network between images, and a latent in place of what is lost."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from privmed import Hider
from privmed.nn.coupling import InvertibleStack, bands, image
from privmed.settings import at_least, one_of, positive, setting


@frozen(kw_only=True)
class InvertibleConfig:
    """Settings of an invertible hider."""

    blocks: int = setting(16, "invertible blocks", at_least(1))
    alpha: float = setting(2.0, "bound of the log-scale of a block (`clamp` in HiNet's code)", positive())
    latent: str = setting("zero", "what recover puts in place of the lost information", one_of("zero", "normal"))


class InvertibleHider(Hider):
    """Hide with blocks that map cover and secret to stego and lost information; recover with their inverses.

    Also offers the ability ``stages``: :meth:`encode` and :meth:`run` stop between blocks and go on from any state of the same shape,
    also one that another network made.
    """

    Config = InvertibleConfig
    tile = 1024

    def __init__(self, config: InvertibleConfig | None = None) -> None:
        super().__init__(config)
        self.blocks = InvertibleStack(self.config.blocks, self.config.alpha)
        self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> int:
        """How many steps :meth:`run` can stop between."""
        return len(self.blocks)

    def encode(self, secret: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
        """State before the first stage: the bands of cover and secret, each (B, 12, H/2, W/2)."""
        return bands(cover), bands(secret)

    def run(self, state: tuple[Tensor, Tensor], first: int, last: int) -> tuple[Tensor, Tensor]:
        """Apply stages ``first`` to ``last - 1``; with ``first > last`` undo stages ``first - 1`` down to ``last``."""
        stages = range(first, last) if first <= last else range(first - 1, last - 1, -1)
        return self.blocks.run(*state, stages, self.subnets)

    def latent(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """What stands for the lost information, in the shape of ``like``."""
        if self.config.latent == "zero":
            return torch.zeros_like(like)
        return torch.empty_like(like).normal_(generator=generator)

    def picture(self, part: Tensor) -> Tensor:
        """An image of its bands, (B, 12, H/2, W/2), unclamped."""
        return image(part)

    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        stego, _lost = self.run(self.encode(secret, cover), 0, self.stages)
        return self.picture(stego)

    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        state = bands(stego)
        _cover, secret = self.run((state, self.latent(state, generator)), self.stages, 0)
        return self.picture(secret)
