"""``privmed hide``: put a scan, or with a key any file, into a photograph, and prove on the written file that it comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import (
    AllowLossy,
    Debug,
    Device,
    Force,
    Frame,
    Json,
    Quiet,
    Refine,
    Reporter,
    Seed,
    Set,
    Strict,
    Use,
    bar,
    check_outputs,
    decibels,
    in_use,
    in_words,
    make,
    recovered_words,
)
from privmed.cli.files import IMAGES, FileCommand, KeyFile, carries_files, give_key
from privmed.cli.locks import PassphraseFile


def command(
    context: typer.Context,
    secret: Annotated[Path, typer.Argument(help="The scan: PNG, JPEG, TIFF or DICOM; with a key, any file.")],
    cover: Annotated[
        Path, typer.Argument(help="The photograph; scaled and cropped to the scan's size, with a key left as it is.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The stego, a PNG.")],
    hider: Annotated[str | None, typer.Option(help="Method; by default lightih, or lsbm with a key.")] = None,
    key: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    weights: Annotated[str | None, typer.Option(help="Bundled name or file; the method's own by default.")] = None,
    frame: Frame = None,
    allow_lossy: AllowLossy = False,
    use: Use = "measure",
    strict: Strict = False,
    refine: Refine = "auto",
    set_: Set = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide a scan in a photograph; with a key, any file."""
    check_outputs([output], force, tuple(filter(None, (secret, cover, key, passphrase_file))))
    if carries_files(context, hider):
        job = FileCommand(
            output=output,
            hider=hider,
            key=key,
            passphrase_file=passphrase_file,
            device=device,
            set_=set_,
            force=force,
            reporter=Reporter(json, quiet),
        )
        return job.hide(secret, cover)
    hider = hider or IMAGES
    from privmed.covert.case import verify
    from privmed.covert.fidelity import fidelity, recovery
    from privmed.imaging import read, read_secret
    from privmed.pipeline import hide, png, recover
    from privmed.refine import steps_of

    wanted, steps = fidelity(use), steps_of(refine)
    picture = read_secret(secret, frame=frame, allow_lossy=allow_lossy)
    scan, photograph = picture.tensor(), read(cover, frame=0).tensor()  # of a cover, any picture will do
    method = make("hider", hider, weights, device, set_)
    give_key(method, key)
    reporter = Reporter(json, quiet)
    figures: dict[str, float] = {}
    warnings: list[str] = []

    def falls_short(run) -> bool:
        recovered = recover(method)(run).recovered.clamp(0, 1)
        return bool(wanted.shortfalls(recovery(recovered, run.secret)))

    def check(run) -> None:
        _, found, warning = verify(run, method, str(secret), use=use, strict=strict)
        figures.update(found)
        warnings.extend([warning] if warning else [])

    with bar(reporter, "refining") as tick:
        hiding = hide(method, refine=steps, falls_short=falls_short, progress=tick)
        run = (hiding | png(output, overwrite=force, check=check))(scan, photograph, seed=seed)
    reporter.table(
        f"{secret.name} is in {output}",
        [
            (
                "stego against cover",
                f"{decibels(figures['stego_psnr'])} RGB, {decibels(figures['stego_psnr_y'])} Y, SSIM {figures['stego_ssim']:.3f}",
            ),
            ("scan recovered from the file", recovered_words(figures)),
            *([("refined", f"{run.refined} steps")] if run.refined else []),
            *([("lost", picture.beyond_view)] if picture.beyond_view else []),
            ("weights", in_words(method)),
        ],
    )
    for words in warnings:
        reporter.warn(words)
    reporter.finish(
        {
            "output": str(output),
            "hider": hider,
            "weights": in_use(hider=method),
            "size": list(scan.shape[-2:]),
            "use": use,
            "refined": run.refined,
            "lost": picture.beyond_view or None,
            **figures,
            "warnings": warnings,
        }
    )
