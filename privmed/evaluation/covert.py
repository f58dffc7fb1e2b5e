"""Covert analysis case by case, each step through the file it is sent in."""

from __future__ import annotations

from pathlib import Path

import torch
from attrs import Factory, frozen
from torch import Tensor

from privmed.errors import VerificationError
from privmed.evaluation.metrics import dice, psnr, ssim
from privmed.imaging import write_view, write_wire
from privmed.interfaces import Analyzer, Hider, door

USABLE = 25.0  # dB; a recovered scan below this is not worth sending


@frozen(eq=False)
class CovertCase:
    """One scan, one photograph.

    Attributes:
        name: for file names.
        title: for people.
        secret: (1, 1 or 3, H, W) in [0, 1].
        cover: (1, 1 or 3, any, any) in [0, 1].
        mask: ground truth, (1, 1, H, W), or None.
        weights: of the analyzer that fits, or None when the scan only travels.
    """

    name: str
    title: str
    secret: Tensor
    cover: Tensor
    mask: Tensor | None = None
    weights: str | None = None


@frozen(eq=False)
class CovertResult:
    """What came out: images as the files hold them, and figures."""

    case: CovertCase
    images: dict[str, Tensor]
    figures: dict[str, float] = Factory(dict)


def run_case(
    case: CovertCase,
    client: Hider,
    server: Analyzer | None,
    folder: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    prefix: str | None = None,
) -> CovertResult:
    """Run one case and write its PNG files into ``folder``; every figure is that of the written file.

    Args:
        case: what to hide in what.
        client: the hider.
        server: the analyzer, or None for hiding and recovering alone.
        folder: where ``stego``, ``response``, ``recovered`` and ``mask`` go.
        seed: where randomness comes from.
        overwrite: whether files may be replaced.
        prefix: of the file names; the case's name by default.
    """
    start = f"{case.name}-" if prefix is None else prefix
    with torch.no_grad():
        secret = door.image("secret", case.secret)
        cover = door.fill(door.image("cover", case.cover), secret.shape[-2:])
        back: dict[str, Tensor] = {}

        def check(held: Tensor) -> None:
            back["recovered"] = client.recover(held, generator=seed)
            check_usable(client, float(psnr(back["recovered"], secret)), case.title)

        hidden = client.hide(case.secret, case.cover, generator=seed)
        stego = write_wire(folder / f"{start}stego.png", hidden, overwrite=overwrite, check=check)
        recovered = back["recovered"]
        images = {
            "cover": cover,
            "secret": secret,
            "stego": stego,
            "difference": difference(stego, cover),
            "recovered": recovered,
        }
        write_view(folder / f"{start}recovered.png", recovered, overwrite=overwrite)
        figures = {**likeness("stego", stego, cover), "recovered_psnr": float(psnr(recovered, secret))}
        if server is not None:
            response = write_wire(
                folder / f"{start}response.png", server.analyze(stego, generator=seed), overwrite=overwrite
            )
            found = server.decode(client.recover(response, clamp=False, generator=seed))
            images |= {"response": response, "answer": client.recover(response, generator=seed)}
            figures |= likeness("response", response, cover)
            if found.ndim == 4:
                images["mask"] = (found > 0.5).float()
                write_view(folder / f"{start}mask.png", images["mask"], overwrite=overwrite)
                figures["foreground"] = float(images["mask"].mean())
                if case.mask is not None:
                    figures["dice"] = float(dice(found, case.mask))
    return CovertResult(case, images, figures)


def check_usable(hider: Hider, recovered: float, what: str) -> None:
    """Refuse a stego that the scan cannot be read out of again.

    Raises:
        VerificationError: when the recovered scan has a PSNR below ``USABLE`` dB.
    """
    if recovered < USABLE:
        hint = "it has no trained weights" if hider.card is None else "try another cover or hider"
        raise VerificationError(
            f"{what}: {hider.name} would give it back at {recovered:.1f} dB only, so nothing was written; {hint}."
        )


def likeness(name: str, image: Tensor, cover: Tensor) -> dict[str, float]:
    """PSNR (RGB and Y) and SSIM of one image against its cover."""
    return {
        f"{name}_psnr": float(psnr(image, cover)),
        f"{name}_psnr_y": float(psnr(image, cover, channel="y")),
        f"{name}_ssim": float(ssim(image, cover)),
    }


def difference(a: Tensor, b: Tensor, gain: float = 10.0) -> Tensor:
    """What the eye does not see: the signed difference, ten times enlarged around mid-grey."""
    return (0.5 + gain * (a - b)).clamp(0, 1)
