"""Random noise: the control that a protector has to beat.

It learns nothing and knows nothing; all it can give away is where it is. Noise over the whole image protects nothing. Noise that
keeps to the ROI tells a network where the ROI is, and with all of epsilon protects about as well as some published methods do: a
protector earns its place by how far it beats noise of the same bound on the same support. That of UMed is ``where: both`` with
``texture: code``, the whole epsilon on the outline and less inside. A fixed pattern gives the ROI away more plainly still.

Idea: Every pixel and channel moves by plus or minus epsilon, by a coin. Over the whole image that is harmless; kept to the lesion it tells
where the lesion is. That is why a protector is held against noise on the same support.

Formula:
    delta = epsilon r,  r = -1 or 1 by a coin    in the region; with a `pattern`, r is that pattern
    with a `texture` it is epsilon x_t r, and on lesion and outline epsilon (y_c + x_t (1 - y_c)) r; y_c: the outline, x_t: the map

Weak at: everything, over the whole image. It is a control, and no protection to publish with.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from privmed import Protector, hookimpl
from privmed.imaging.contour import contour
from privmed.settings import one_of, setting
from privmed_protectors.regions import PATTERNS, WHERE, pattern, region, tasks_of
from privmed_protectors.texture import KINDS, texture_map

BAND = (1.8 / 16, 4.4 / 16)  # cycles a pixel


@frozen(kw_only=True)
class NoiseConfig(Protector.Config):
    """Settings of :class:`Noise`."""

    where: str = setting("image", "region it keeps to", one_of(*WHERE))
    contour_kernel: int = setting(3, "side of the box that makes the band around the outline", one_of(3, 5, 7, 9))
    pattern: str = setting(
        "random",
        "a draw for each pixel and channel; or signs of a field with 2 to 4 periods in 16 pixels, alike in all channels (band); or "
        "the same everywhere: a checkerboard (in all channels, or in blue), or a tint",
        one_of("random", "band", *PATTERNS),
    )
    texture: str = setting(
        "full",
        "part of epsilon that is used, by the texture of the image: all of it (full), or what a texture map of umed gives; with where=both "
        "the outline has all of it, which with code is the bound of umed",
        one_of(*KINDS),
    )


class Noise(Protector):
    """Plus or minus epsilon: drawn for each pixel and channel, or a fixed pattern."""

    name = "noise"
    Config = NoiseConfig

    def __init__(self, config: NoiseConfig | None = None) -> None:
        super().__init__(config)
        self.tasks = tasks_of(self.config.where)

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        return image + self.config.epsilon * self._room(image, mask) * self._signs(image, generators)

    def _signs(self, image: Tensor, generators: list[torch.Generator]) -> Tensor:
        """What the noise is but for its size; broadcasts to (B, C, H, W)."""
        if self.config.pattern == "band":
            return torch.stack([band_limited(x.shape[-2:], g).sign() for x, g in zip(image, generators)])
        if self.config.pattern != "random":
            return pattern(self.config.pattern, image)
        signs = [torch.randint(0, 2, x.shape, generator=g, device=x.device) for x, g in zip(image, generators)]
        return 2.0 * torch.stack(signs) - 1

    def _room(self, image: Tensor, mask: Tensor) -> Tensor:
        """Part of epsilon that each place may take, (B, 1, H, W)."""
        hidden = texture_map(image, self.config.texture)
        if self.config.where != "both":
            return hidden
        outline = contour(mask, self.config.contour_kernel)
        return outline + hidden * (1 - outline)

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        where = region(self.config.where, image, mask, self.config.contour_kernel)
        return where * self._room(image, mask) > 0


def band_limited(sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Gaussian noise (1, H, W) of the frequencies in ``BAND``: filters leave it as they leave regular waves, which have to beat it."""
    white = torch.randn(sides, generator=generator, device=generator.device)
    rows, columns = (torch.fft.fftfreq(n, device=white.device) for n in sides)
    radius = (rows.view(-1, 1) ** 2 + columns**2).sqrt()
    passed = (radius > BAND[0]) & (radius < BAND[1])
    return torch.fft.ifft2(torch.fft.fft2(white) * passed).real[None]


@hookimpl
def privmed_register(register):
    register(Noise)
