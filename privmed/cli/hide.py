"""``privmed hide``: put a scan, or with a key any file, into a photograph, and prove on the written file that it comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from privmed.cli.folders import NONE, Several, about_of, for_folders, on_folder, refuse_force
from privmed.cli.locks import PassphraseFile


@for_folders
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
    several: Several = NONE,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide a scan in a photograph; with a key, any file."""
    if secret.is_dir():
        return _hide_folder(
            secret,
            cover,
            output,
            several,
            Reporter(json, quiet),
            context=context,
            hider=hider,
            weights=weights,
            set_=set_,
            device=device,
            key=key,
            force=force,
            use=use,
            refine=refine,
            frame=frame,
            allow_lossy=allow_lossy,
            strict=strict,
            seed=seed,
        )
    several.check_unused(secret)
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
    from privmed.covert.fidelity import fidelity
    from privmed.covert.files import Hiding
    from privmed.data.exchange import check_photographs
    from privmed.imaging import read, read_secret
    from privmed.refine import refinement_of

    fidelity(use), refinement_of(refine)
    check_photographs(secret, [cover])
    read_secret(secret, frame=frame, allow_lossy=allow_lossy), read(cover, frame=0)  # refused before weights are loaded
    method = make("hider", hider, weights, device, set_)
    give_key(method, key)
    reporter = Reporter(json, quiet)
    task = Hiding(method=method, use=use, refine=refine, frame=frame, allow_lossy=allow_lossy, strict=strict)
    with bar(reporter, "hiding") as tick:
        figures = task(secret, cover, output, seed=seed, overwrite=force, progress=tick)
    reporter.table(
        f"{secret.name} is in {output}",
        [
            (
                "stego against cover",
                f"{decibels(figures['stego_psnr'])} RGB, {decibels(figures['stego_psnr_y'])} Y, SSIM {figures['stego_ssim']:.3f}",
            ),
            ("scan recovered from the file", recovered_words(figures)),
            *([("refined", f"{figures['refined']} steps")] if figures["refined"] else []),
            *([("lost", figures["lost"])] if figures["lost"] else []),
            ("weights", in_words(method)),
        ],
    )
    for words in figures["warnings"]:
        reporter.warn(words)
    reporter.finish(
        {
            "output": str(output),
            "hider": hider,
            "weights": in_use(hider=method),
            **figures,
        }
    )


def _hide_folder(
    secret: Path,
    cover: Path,
    output: Path,
    several: Several,
    reporter: Reporter,
    *,
    context: typer.Context,
    hider: str | None,
    weights: str | None,
    set_: list[str] | None,
    device: str,
    key: Path | None,
    force: bool,
    **how: Any,
) -> None:
    """Hide every scan of a folder, each in a photograph of its own."""
    from privmed.covert.fidelity import fidelity
    from privmed.covert.files import Hiding
    from privmed.errors import InputError
    from privmed.refine import refinement_of

    if carries_files(context, hider):
        raise InputError(f"{secret}: is a folder, and files under a key are hidden one by one. Name a file.")
    refuse_force(force)
    fidelity(how["use"]), refinement_of(how["refine"])
    method = make("hider", hider or IMAGES, weights, device, set_)
    give_key(method, key)
    about = {**about_of(hider=method), "refine": how["refine"], "seed": how["seed"]}
    task = Hiding(method=method, **how)
    on_folder("hide", task, secret, output, several, reporter, device=device, about=about, covers=cover)
