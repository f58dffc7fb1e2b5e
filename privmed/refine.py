"""Refining a stego: change it by a few grey levels so that what is recovered from the 8-bit file comes nearer to the secret.

No training is involved. The hider stays as it is, and so does whoever recovers; only the sender spends a few gradient steps on the one
image. That helps most where a hider does worst: clipped photographs, coloured scans. Ours, not of a paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from attrs import frozen
from torch import Tensor

from privmed.errors import SettingsError
from privmed.imaging.quantise import quantise
from privmed.settings import at_least, between, parse_named, positive, setting, structure

AUTO = 20  # steps of a refinement that nobody gave a number for

FLOOR = 1e-5  # mean squared error (50 dB) below which the logarithm loses interest
MOMENTUM, MEMORY = 0.8, 0.95  # Adam's betas
GROW, SHRINK = 1.3, 0.7  # of an image's step, after a step that lowered its loss and after one that did not
GREY = 1 / 255


@frozen(kw_only=True)
class Refinement:
    """How a stego is refined."""

    steps: int = setting(AUTO, "gradient steps; each costs about three times a recovery", at_least(0))
    bound: float = setting(8.0, "largest change of a value of the stego, in grey levels of 255", between(0, 255))
    rate: float = setting(0.12, "first step of a value, in grey levels", positive())
    secret: float = setting(1.0, "weight of the recovered against the secret; that of the stego is 1", at_least(0))


def refine(
    recover: Callable[[Tensor], Tensor],
    stego: Tensor,
    secret: Tensor,
    cover: Tensor,
    how: Refinement,
    progress: Callable[[int, int], None] | None = None,
    fixed: Tensor | None = None,
) -> Tensor:
    """Return a stego that looks as much like the cover as before, or more, and gives the secret back better.

    Adam with a step of its own for every image: it grows while the loss falls and shrinks when it rises, under a cosine, so that the
    first steps, whose directions are hardly known, do no harm. The best image seen is kept, the one at the start included, judged
    after rounding to 8 bits.

    Args:
        recover: from stego to recovered, with a gradient.
        stego: (B, 3, H, W) in [0, 1].
        secret: what shall be recovered, in the same shape.
        cover: what the stego shall look like, in the same shape.
        how: steps, bound, rate and weight.
        progress: called with the steps taken and their number.
        fixed: which values stay as they are, boolean of the shape of ``stego``.

    Returns:
        The refined stego, (B, 3, H, W) in [0, 1], within ``how.bound`` grey levels of ``stego``.

    Raises:
        SettingsError: when ``recover`` has no gradient.
    """
    if not how.steps:
        return stego
    with torch.inference_mode(False):  # in which nothing has a gradient; what was made in it has to be copied out
        images = (x.clone() if x.is_inference() else x for x in (stego, secret, cover))
        return _refine(recover, *images, how, progress, fixed)


def _refine(
    recover: Callable[[Tensor], Tensor],
    stego: Tensor,
    secret: Tensor,
    cover: Tensor,
    how: Refinement,
    progress: Callable[[int, int], None] | None,
    fixed: Tensor | None,
) -> Tensor:
    start = stego.detach()
    low, high = ((start + side * how.bound * GREY).clamp(0, 1) for side in (-1, 1))
    if fixed is not None:
        low, high = (torch.where(fixed, start, bound) for bound in (low, high))
    x, best = start, start
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    rate = x.new_full((len(x), 1, 1, 1), how.rate * GREY)
    last = lowest = x.new_full((len(x),), math.inf)
    for step in range(how.steps + 1):
        loss, gradient = _loss(recover, x, secret, cover, how.secret, gradient=step < how.steps)
        better = loss < lowest
        best, lowest = torch.where(better.view(-1, 1, 1, 1), x, best), torch.where(better, loss, lowest)
        if gradient is None:
            break
        rate = rate * torch.where(loss < last, GROW, SHRINK).view(-1, 1, 1, 1)
        last = loss
        mean = MOMENTUM * mean + (1 - MOMENTUM) * gradient
        square = MEMORY * square + (1 - MEMORY) * gradient.square()
        direction = mean / (1 - MOMENTUM ** (step + 1)) / ((square / (1 - MEMORY ** (step + 1))).sqrt() + 1e-12)
        x = (x - rate * 0.5 * (1 + math.cos(math.pi * step / how.steps)) * direction).clamp(low, high)
        if progress is not None:
            progress(step + 1, how.steps)
    return best


def refinement_of(text: str) -> tuple[Refinement, bool]:
    """What ``--refine`` says: how a stego is refined, and whether only where the scan would fall short (``auto``).

    Args:
        text: ``auto`` or a number of steps; settings of :class:`Refinement` in brackets, ``auto[bound=2]``.

    Raises:
        SettingsError: for anything else.

    Example:
        >>> from privmed.refine import refinement_of
        >>> refinement_of("30[bound=2]")
        (Refinement(steps=30, bound=2.0, rate=0.12, secret=1.0), False)
    """
    name, settings = parse_named(text)
    auto = name == "auto"
    if not auto and (not name.isdecimal() or len(name) > 4):
        raise SettingsError(f"--refine must be auto or a number of steps from 0 to 9999, got {text!r}.")
    if "steps" in settings:
        raise SettingsError(f"--refine {text}: the number of steps stands before the brackets, as in 20[bound=2].")
    return structure(Refinement, {**settings, "steps": AUTO if auto else int(name)}, "--refine"), auto


def hide_well(
    hide: Callable[..., Tensor],
    how: Refinement,
    falls_short: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, int]:
    """Hide, and refine the stego, always or only where what would be recovered falls short.

    Args:
        hide: :meth:`Hider.hide` with its images, taking ``refine`` and ``progress``.
        how: how it is refined.
        falls_short: whether what is recovered from a stego, as the file will hold it, is not good enough; None to refine always.
        progress: see :meth:`Hider.hide`.

    Returns:
        The stego, and how many steps it was refined by.

    Raises:
        SettingsError: when a hider whose recovery has no gradient shall always refine.
    """
    if falls_short is None:
        return hide(refine=how, progress=progress), how.steps
    stego = hide(refine=0, progress=progress)
    if not how.steps or not falls_short(quantise(stego)):
        return stego, 0
    try:
        return hide(refine=how, progress=progress), how.steps
    except SettingsError:  # no gradient, and nobody insisted on one
        return stego, 0


def _loss(
    recover: Callable[[Tensor], Tensor], x: Tensor, secret: Tensor, cover: Tensor, weight: float, *, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The loss of each image, (B,), and its gradient."""
    with torch.set_grad_enabled(gradient):
        x = x.requires_grad_(gradient)
        sent = quantise(x)
        recovered = recover(sent)
        if gradient and not recovered.requires_grad:
            raise SettingsError("refine: what this hider recovers has no gradient, so its stegos cannot be refined.")
        loss = weight * _decades(recovered, secret) + _decades(sent, cover)
        direction = torch.autograd.grad(loss.sum(), x)[0] if gradient else None
    x.requires_grad_(False)
    return loss.detach(), direction


def _decades(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of each image on a logarithmic scale, so that an easy one counts as much as a hard one."""
    return (1 + (found - wanted).square().flatten(1).mean(1) / FLOOR).log()
