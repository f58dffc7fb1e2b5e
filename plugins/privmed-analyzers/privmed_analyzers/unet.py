"""U-Net: the plain baseline of covert analysis, and the segmenter of bare images that covert analysis is held against.

O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, with batch
normalisation and padding. As an analyzer it maps the stego to the response directly, as the competing pairs of HideMIA's Table 1 do.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from privmed import Analyzer, hookimpl
from privmed.interfaces import door
from privmed.nn import unet
from privmed.settings import at_least, setting
from privmed_analyzers.reading import Reading, ReadingConfig


@frozen(kw_only=True)
class UNetConfig(ReadingConfig):
    """Settings of :class:`UNet`."""

    width: int = setting(32, "channels of the first level", at_least(1))
    residual: bool = setting(False, "add the stego to the answer; the paper's competitors do not")


class UNet(Analyzer):
    """One U-Net from the stego to the response; also offers the ability ``segment`` on bare images."""

    name = "unet"
    Config = UNetConfig

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__(config)
        self.network = unet.UNet(width=self.config.width)
        self.reading = Reading(self.config)
        self.to(memory_format=torch.channels_last)

    def segment(self, image: Tensor) -> Tensor:
        """Segment (or classify) images that are not hidden.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], sides at least 32.

        Returns:
            Logits, (B, 1, H, W) or (B, classes).

        Raises:
            InputError: for wrong types, shapes, ranges, NaN, or sides below 32.
        """
        image_ = door.image("image", image).to(self.device)
        return self.reading(door.crop(self._run(door.pad(image_, self.multiple)), image_.shape[-2:]))

    def _run(self, x: Tensor) -> Tensor:
        with self.subnets():
            return self.network(x.contiguous(memory_format=torch.channels_last)).float()

    def _analyze(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        return self._run(stego) + (stego if self.config.residual else 0)

    def _decode(self, recovered: Tensor) -> Tensor:
        return self.reading(recovered)


@hookimpl
def privmed_register(register) -> None:
    register(UNet)
