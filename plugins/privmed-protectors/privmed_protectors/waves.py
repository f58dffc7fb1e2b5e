"""Square waves on a lesion and its outline, of a period that blur, JPEG and other filters leave.

No paper's method: there is no surrogate and nothing is learnt. A square wave with four periods in 16 pixels, in step with JPEG's blocks
of 8, is a single coefficient of their cosine transform, which even strong compression keeps; a blur of 3 x 3 pixels keeps half of it, a
median all. In grey as in colour: all channels are changed alike, so that none of them, and no average, is without it.

``secret`` draws period and direction from the seed, for the whole set or for each image; a notch that is told the band must then find it
first. One that adapts to each image does, and waves that differ from image to image protect less to begin with.

Idea: No scan contains the wave and every lesion does, so a network learns it in place of the lesion. Its frequency is one that a
blur, a median and the quantisation of JPEG leave, so cleaning the images with a filter does not take it away. It takes no fit.

Formula:
    delta = epsilon sign(cos(2 pi cycles u / 16))     on lesion and outline; u: pixels along the direction

Weak at: an exploiter who looks for it, with a narrow notch in the frequency at which lesions differ from their surroundings, or who takes
the whole band out: he learns as from unprotected images. Clean images, augmentation and a bilateral filter take half of it or more,
instance normalisation and a blur a part. It shows everybody where the lesion is.
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from privmed import Protector, hookimpl
from privmed.settings import between, one_of, setting, side
from privmed_protectors.regions import region

Band = tuple[float, str]  # cycles in 16 pixels, and along what
BANDS: tuple[Band, ...] = ((3, "x"), (4, "x"), (3, "y"), (4, "y"))
SECRET_SALT = 7919  # what the draw of a set's band has beside its seed


@frozen(kw_only=True)
class WavesConfig(Protector.Config):
    """Settings of :class:`Waves`."""

    cycles: float = setting(4.0, "periods of the wave in 16 pixels", between(0.5, 8))
    direction: str = setting("x", "that the wave runs along", one_of("x", "y"))
    secret: str = setting(
        "none",
        "whether the seed draws period (3 or 4 cycles) and direction instead: once for the set, or for each image",
        one_of("none", "set", "image"),
    )
    size: int = setting(
        224,
        "side to which exploiters bring all images; waves are stretched with the image, unless it has too few pixels for them: then it "
        "gets those of its own size",
        side(),
    )
    contour_kernel: int = setting(3, "side of the box that makes the band around the outline", one_of(3, 5, 7, 9))


class Waves(Protector):
    """A square wave of plus and minus epsilon."""

    name = "waves"
    Config = WavesConfig
    tasks = ("segmentation",)
    undone_by = ("blur", "notch")

    @property
    def note(self) -> str:
        return "waves adds a pattern of one frequency, without learning anything: whoever finds that frequency in it takes it out."

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        sides = image.shape[-2:]
        waves = [self.wave(sides, *self._band(g)) for g in generators]
        return image + self.config.epsilon * torch.stack(waves).to(image)

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        return region("both", image, mask, self.config.contour_kernel) > 0

    def _band(self, generator: torch.Generator) -> Band:
        """What an image gets."""
        c = self.config
        if c.secret == "none":
            return c.cycles, c.direction
        if c.secret == "set":
            generator = torch.Generator().manual_seed(c.seed * SECRET_SALT + 1)
        return BANDS[int(torch.randint(len(BANDS), (), generator=generator, device=generator.device))]

    def wave(self, sides: tuple[int, int], cycles: float, direction: str) -> Tensor:
        """The wave over a whole image, (1, H, W), 1 and -1."""
        count = sides[0 if direction == "y" else 1]
        size = self.config.size
        if 2 * cycles * size > 16 * count:  # less than two pixels a period: what came out would be another wave
            size = count
        at = (torch.arange(count) + 0.5) * size / count  # the middle of each pixel
        line = torch.where(torch.cos(2 * math.pi * cycles * at / 16) >= 0, 1.0, -1.0)
        return (line.view(-1, 1) if direction == "y" else line).expand(1, *sides)


@hookimpl
def privmed_register(register):
    register(Waves)
