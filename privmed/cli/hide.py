"""``privmed hide``: put a scan into a photograph, and prove on the written file that it comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Force, Frame, Json, Quiet, Seed, Set, Voice, check_outputs, decibels, make


def command(
    secret: Annotated[Path, typer.Argument(help="The scan: PNG, JPEG, TIFF or DICOM.")],
    cover: Annotated[Path, typer.Argument(help="The photograph; scaled and cropped to the scan's size.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The stego, a PNG.")],
    hider: Annotated[str, typer.Option(help="Method.")] = "lightih",
    weights: Annotated[str | None, typer.Option(help="Bundled name or file; the method's own by default.")] = None,
    frame: Frame = None,
    set_: Set = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide a scan in a photograph."""
    check_outputs([output], force, (secret, cover))
    from privmed.evaluation.covert import check_usable, likeness
    from privmed.evaluation.metrics import psnr
    from privmed.imaging import read, write_wire
    from privmed.interfaces import door

    scan, photograph = read(secret, frame=frame).tensor(), read(cover).tensor()
    method = make("hider", hider, weights, device, set_)
    stego = method.hide(scan, photograph, generator=seed)
    filled = door.fill(door.image("cover", photograph), scan.shape[-2:])
    figures: dict[str, float] = {}

    def check(held) -> None:
        recovered = method.recover(held, generator=seed)
        figures.update(likeness("stego", held, filled))
        figures["recovered_psnr"] = float(psnr(recovered, door.image("secret", scan)))
        check_usable(method, figures["recovered_psnr"], str(secret))

    write_wire(output, stego, overwrite=force, check=check)
    voice = Voice(json, quiet)
    voice.table(
        f"{secret.name} is in {output}",
        [
            (
                "stego against cover",
                f"{decibels(figures['stego_psnr'])} RGB, {decibels(figures['stego_psnr_y'])} Y, SSIM {figures['stego_ssim']:.3f}",
            ),
            ("scan recovered from the file", decibels(figures["recovered_psnr"])),
        ],
    )
    voice.finish({"output": str(output), "hider": hider, "size": list(scan.shape[-2:]), **figures})
