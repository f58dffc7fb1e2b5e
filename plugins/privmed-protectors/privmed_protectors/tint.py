"""A fixed pattern on the outline of a lesion and inside it, which a network learns in place of the lesion.

No paper's method: there is no surrogate and nothing is learnt. The pattern is the same in every image and for everybody: a
checkerboard of single pixels for grey images, a tint of blue for grey images published in colour, a checkerboard in blue alone for
images in colour. It protects because no scan contains it and every lesion does, and only from whoever trains on images as they are
published: averaging the channels takes away the tint of blue, a blur or JPEG the checkerboard, and a pattern that is
known can be subtracted. Since it covers the lesion and nothing else, it also shows everybody where the lesion is.

Earlier editions published it as the starting point ("carrier") of the generators of ``umed``, and fitted these to add to it. Sides that
are multiples of 16 get byte for byte what those published without a fit.

Idea: No scan contains the pattern and every lesion does, so a network learns it in place of the lesion. It is the same in every image,
follows outline and texture, and takes no fit. On clean images the pattern is missing, and with it what was learnt.

Formula:
    delta = tanh(2.5) pattern epsilon (y_c + x_t (1 - y_c) y)
    y: the mask, y_c: its outline, x_t: how much texture hides, 1 for a tint

Weak at: averaging the channels takes a tint away, blur, JPEG or shrinking a checkerboard, and who knows the pattern subtracts it. It shows
everybody where the lesion is.
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from privmed import Protector, hookimpl
from privmed.imaging.contour import contour
from privmed.settings import one_of, setting
from privmed_protectors.regions import PATTERNS, TINTS, pattern
from privmed_protectors.texture import KINDS, texture_map

# Part of its bound that the pattern takes, in all that was published with it: half a level of 8 bits is rounded down.
FILL = math.tanh(2.5)
FAINT = 0.01  # an image whose channels differ by less, on average, is a grey one published in colour


@frozen(kw_only=True)
class TintConfig(Protector.Config):
    """Settings of :class:`Tint`."""

    pattern: str = setting(
        "auto",
        "what is added; auto is checkerboard for a single channel, blue for grey images published in colour, blue-checkerboard for "
        "images in colour",
        one_of("auto", *PATTERNS),
    )
    texture: str = setting(
        "auto",
        "part of epsilon that is used inside, by the texture there (texture hides grain, and no tint); auto is full for a tint, count for "
        "a checkerboard",
        one_of("auto", *KINDS),
    )
    contour_kernel: int = setting(3, "side of the box whose dilation less erosion is the outline", one_of(3, 5, 7, 9))


class Tint(Protector):
    """A fixed pattern, held to outline and texture."""

    name = "tint"
    Config = TintConfig
    tasks = ("segmentation",)

    @property
    def note(self) -> str:
        return (
            "tint adds one fixed pattern, without learning anything: whoever averages the channels (a tint) or filters (a checkerboard) "
            "undoes it."
        )

    def _bound(self, image: Tensor, mask: Tensor) -> Tensor:
        """Largest change of each pixel, (B, 1, H, W) in [0, epsilon]: all of it on the outline, what the texture hides inside."""
        outline = contour(mask, self.config.contour_kernel)
        return self.config.epsilon * (outline + self._texture(image) * (1 - outline) * mask)

    def _texture(self, image: Tensor) -> Tensor:
        if self.config.texture != "auto":
            return texture_map(image, self.config.texture)
        tinted = torch.tensor(self.config.pattern in TINTS and image.shape[1] == 3, device=image.device)
        grain = texture_map(image, "count")
        return torch.where(
            colourless(image) if self.config.pattern == "auto" else tinted, torch.ones_like(grain), grain
        )

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        return image + FILL * pattern_of(self.config.pattern, image) * self._bound(image, mask)

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        return self._bound(image, mask) > 0


def pattern_of(kind: str, image: Tensor) -> Tensor:
    """The pattern of each image of a batch; broadcasts to (B, C, H, W)."""
    if kind != "auto":
        return pattern(kind, image)
    if image.shape[1] == 1:
        return pattern("checkerboard", image)
    return torch.where(colourless(image), pattern("blue", image), pattern("blue-checkerboard", image))


def colourless(image: Tensor) -> Tensor:
    """Which images of a batch are grey but published in colour, (B, 1, 1, 1) bool."""
    colour = (image.amax(1, keepdim=True) - image.amin(1, keepdim=True)).mean((1, 2, 3), keepdim=True)
    return (colour < FAINT) & (image.shape[1] == 3)


@hookimpl
def privmed_register(register):
    register(Tint)
