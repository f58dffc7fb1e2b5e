"""How faithfully a scan comes back: its mean, its worst patch and its worst pixel, and what a use asks of them.

A recovered scan with a single wrong region is worse than none, and a mean over the image does not see it.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from privmed.errors import SettingsError, VerificationError, did_you_mean
from privmed.interfaces import Hider
from privmed.metrics import PATCH, psnr, worst_patch, worst_pixel

USABLE = 25.0  # dB in the mean; a recovered scan below this is not worth sending, whatever its use
GAIN = 4.0  # of the error map: a difference of 64 grey levels is white
OUTLINE = (0.98, 0.28, 0.22)  # of the worst patch
MARGIN, LINE = 3, 2  # pixels between the worst patch and its outline, and the outline's width


@frozen(kw_only=True)
class Fidelity:
    """What a use asks of a recovered scan; what falls short of it is warned of.

    Attributes:
        mean: PSNR over the whole scan, in dB, at least.
        patch: PSNR of its worst patch (see :func:`privmed.metrics.worst_patch`), in dB, at least.
        pixel: error of its worst pixel, in grey levels of 255, at most.
    """

    mean: float
    patch: float
    pixel: float

    def shortfalls(self, figures: dict[str, float]) -> list[str]:
        """What of :func:`recovery` falls short, in words; empty if nothing does."""
        mean, patch, pixel = (figures[f"recovered_{name}"] for name in ("psnr", "worst_patch", "worst_pixel"))
        return [
            words
            for short, words in (
                (mean < self.mean, f"its mean is {mean:.1f} dB, expected {self.mean:g} or more"),
                (patch < self.patch, f"its worst patch {patch:.1f} dB, expected {self.patch:g} or more"),
                (pixel > self.pixel, f"its worst pixel {pixel:.0f} levels off, expected {self.pixel:g} or fewer"),
            )
            if short
        ]


USES = {
    "measure": Fidelity(mean=35, patch=28, pixel=32),  # root mean square error of 10 levels in the worst patch
    "view": Fidelity(mean=30, patch=22, pixel=96),  # of 20 levels
}
STRICTEST = "measure"


def fidelity(use: str) -> Fidelity:
    """What a use asks for.

    Raises:
        SettingsError: when there is no such use.
    """
    if use not in USES:
        raise SettingsError(f"--use must be {' or '.join(USES)}, got {use!r}.{did_you_mean(use, USES)}")
    return USES[use]


def recovery(recovered: Tensor, secret: Tensor) -> dict[str, float]:
    """Figures of one recovered scan (1, 3, H, W) against the secret: mean, worst patch (and where), worst pixel."""
    patch, at = worst_patch(recovered, secret)
    return {
        "recovered_psnr": float(psnr(recovered, secret)),
        "recovered_worst_patch": float(patch),
        "recovered_worst_pixel": float(worst_pixel(recovered, secret)),
        "recovered_worst_top": int(at[0, 0]),
        "recovered_worst_left": int(at[0, 1]),
    }


def judge(hider: Hider, figures: dict[str, float], what: str, *, use: str = STRICTEST, strict: bool = False) -> str:
    """Refuse a stego that the scan cannot be read out of again; return a warning of one that falls short, or an empty string.

    Args:
        hider: who gives the scan back.
        figures: of :func:`recovery`.
        what: the scan, for people.
        use: what the recovered scan is for, a name in ``USES``.
        strict: refuse what falls short instead of warning of it.

    Raises:
        VerificationError: when the mean is below ``USABLE`` dB, or ``strict`` is on and something falls short.
    """
    if figures["recovered_psnr"] < USABLE:
        hint = "it has no trained weights" if hider.card is None else "try another cover or hider"
        raise VerificationError(
            f"{what}: {hider.name} would give it back at {figures['recovered_psnr']:.1f} dB only, so nothing was written; {hint}."
        )
    short = fidelity(use).shortfalls(figures)
    if not short:
        return ""
    words = f"{what}: what {hider.name} gives back falls short of the use {use!r}: {'; '.join(short)}"
    if strict:
        raise VerificationError(f"{words}. Nothing was written; try another cover or hider.")
    return f"{words}. Look at the error, or try another cover or hider."


def error_map(recovered: Tensor, secret: Tensor, figures: dict[str, float]) -> Tensor:
    """Where a recovered scan is wrong, (1, 3, H, W): the largest channel's error, four times enlarged, the worst patch outlined."""
    error = (GAIN * (recovered - secret).abs().amax(1, keepdim=True)).clamp(0, 1).expand(-1, 3, -1, -1).clone()
    ring = torch.zeros(error.shape[-2:], dtype=torch.bool)
    top, left = figures["recovered_worst_top"], figures["recovered_worst_left"]
    for grown, value in ((MARGIN + LINE, True), (MARGIN, False)):
        rows, columns = (slice(max(0, at - grown), at + PATCH + grown) for at in (top, left))
        ring[rows, columns] = value
    return torch.where(ring, torch.tensor(OUTLINE).view(1, 3, 1, 1), error)
