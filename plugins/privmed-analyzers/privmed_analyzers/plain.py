"""What all plain networks share as analyzers: the competitors of HideMIA's Table 1.

The network maps the stego to the response directly: no sub-bands, no residual; losses and decoding are those of HideMIA. On bare images
(ability ``segment``) the same network is what covert analysis is held against. Any network from an image to an image of its size becomes an
analyzer by a class with ``build``.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Analyzer
from privmed.interfaces import validation
from privmed.settings import setting
from privmed_analyzers.decoding import DecoderConfig, OutputDecoder


@frozen(kw_only=True)
class PlainConfig(DecoderConfig):
    """Settings of every plain network."""

    residual: bool = setting(False, "add the stego to the answer; the paper's competitors do not")


class PlainAnalyzer(Analyzer):
    """One network from the stego to the response; also offers the ability ``segment`` on bare images."""

    Config = PlainConfig

    def __init__(self, config: PlainConfig | None = None) -> None:
        super().__init__(config)
        self.network = self.build()
        self.output_decoder = OutputDecoder(self.config)
        self.to(memory_format=torch.channels_last)

    @abstractmethod
    def build(self) -> nn.Module:
        """The network that ``self.config`` asks for, (B, 3, H, W) to (B, 3, H, W); H and W are multiples of 32."""

    def segment(self, image: Tensor) -> Tensor:
        """Segment (or classify) images that are not hidden.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32.

        Returns:
            Logits, (B, 1, H, W), (B, mask classes, H, W) or (B, classes).

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        image_ = validation.image("image", image).to(self.device)
        return self.output_decoder(validation.crop(self._run(validation.pad(image_, self.multiple)), image_.shape[-2:]))

    def _run(self, x: Tensor) -> Tensor:
        with self.subnets():
            return self.network(x.contiguous(memory_format=torch.channels_last)).float()

    def _analyze(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        return self._run(stego) + (stego if self.config.residual else 0)

    def _decode(self, recovered: Tensor) -> Tensor:
        return self.output_decoder(recovered)

    def _presence(self, recovered: Tensor) -> Tensor | None:
        return self.output_decoder.presence(recovered)
