"""Covert analysis case by case, each step through the file it is sent in."""

from __future__ import annotations

from pathlib import Path

import torch
from attrs import Factory, frozen
from torch import Tensor

from privmed.evaluation.domain import unfamiliar_answer, unfamiliar_secret
from privmed.evaluation.fidelity import STRICTEST, error_map, judge, recovery
from privmed.evaluation.metrics import dice, psnr, ssim
from privmed.imaging import write_view, write_wire
from privmed.interfaces import Analyzer, Hider, door


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
    """What came out: images as the files hold them, figures, and what there is to be careful about."""

    case: CovertCase
    images: dict[str, Tensor]
    figures: dict[str, float] = Factory(dict)
    warnings: list[str] = Factory(list)


def run_case(
    case: CovertCase,
    client: Hider,
    server: Analyzer | None,
    folder: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    prefix: str | None = None,
    use: str = STRICTEST,
    strict: bool = False,
) -> CovertResult:
    """Run one case and write its PNG files into ``folder``; every figure is that of the written file.

    Args:
        case: what to hide in what.
        client: the hider.
        server: the analyzer, or None for hiding and recovering alone.
        folder: where ``stego``, ``response``, ``recovered``, ``error-map`` and ``mask`` go.
        seed: where randomness comes from.
        overwrite: whether files may be replaced.
        prefix: of the file names; the case's name by default.
        use: what the recovered scan is for (see :mod:`privmed.evaluation.fidelity`).
        strict: refuse a recovered scan that falls short of the use, instead of warning.
    """
    start = f"{case.name}-" if prefix is None else prefix

    def path(name: str) -> Path:
        return folder / f"{start}{name}.png"

    with torch.no_grad():
        result = _travel(case, client, path, seed, overwrite, use, strict)
        if server is not None:
            _analyse(result, client, server, path, seed, overwrite)
    return result


def _travel(case, client, path, seed, overwrite, use, strict) -> CovertResult:
    """Hide the scan, and recover it from the file."""
    secret = door.image("secret", case.secret)
    cover = door.fill(door.image("cover", case.cover), secret.shape[-2:])
    result = CovertResult(case, {"cover": cover, "secret": secret})

    def check(held: Tensor) -> None:
        recovered = client.recover(held, generator=seed)
        figures = recovery(recovered, secret)
        if words := judge(client, figures, case.title, use=use, strict=strict):
            result.warnings.append(words)
        result.figures.update(likeness("stego", held, cover) | figures)
        result.images.update(
            stego=held,
            difference=difference(held, cover),
            recovered=recovered,
            error=error_map(recovered, secret, figures),
        )

    hidden = client.hide(case.secret, case.cover, generator=seed)
    write_wire(path("stego"), hidden, overwrite=overwrite, check=check)
    write_view(path("recovered"), result.images["recovered"], overwrite=overwrite)
    write_view(path("error-map"), result.images["error"], overwrite=overwrite)
    return result


def _analyse(result: CovertResult, client: Hider, server: Analyzer, path, seed: int, overwrite: bool) -> None:
    """Let the server answer to the stego, and read the answer."""
    case, images, figures = result.case, result.images, result.figures
    response = write_wire(path("response"), server.analyze(images["stego"], generator=seed), overwrite=overwrite)
    answer = client.recover(response, clamp=False, generator=seed)
    images.update(response=response, answer=answer.clamp(0, 1))
    figures.update(likeness("response", response, images["cover"]))
    result.warnings.extend(unfamiliar_secret(server, images["secret"], case.title))
    result.warnings.extend(unfamiliar_answer(server, answer, case.title))
    found = server.decode(answer)
    if found.ndim == 4:
        images["mask"] = (found > 0.5).float()
        write_view(path("mask"), images["mask"], overwrite=overwrite)
        figures["foreground"] = float(images["mask"].mean())
        if case.mask is not None:
            figures["dice"] = float(dice(found, case.mask))


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
