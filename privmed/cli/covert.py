"""``privmed covert``: the three steps of covert analysis, each through a file, with a picture and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Force, Frame, Json, Quiet, Seed, Voice, check_outputs, decibels, make

FILES = ("stego.png", "response.png", "recovered.png", "mask.png", "report.html")


def command(
    secret: Annotated[Path, typer.Argument(help="The scan: PNG, JPEG, TIFF or DICOM.")],
    cover: Annotated[Path, typer.Argument(help="The photograph.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for everything that comes out.")],
    hider: Annotated[str | None, typer.Option(help="Method; by default the one the analyzer was tuned to.")] = None,
    hider_weights: Annotated[str | None, typer.Option(help="The hider's weights: bundled name or file.")] = None,
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="The analyzer's weights: busi, isic or a file.")] = None,
    frame: Frame = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide, analyse, recover: the whole way, with a report."""
    from privmed.files import make_folder

    if output.exists():
        check_outputs([output / name for name in FILES], force, (secret, cover))
    from privmed.evaluation.covert import CovertCase, run_case
    from privmed.evaluation.report import write_report
    from privmed.imaging import read
    from privmed.pipeline import tuned_hider

    scan, photograph = read(secret, frame=frame).tensor(), read(cover).tensor()
    server = make("analyzer", analyzer, weights, device)
    voice = Voice(json, quiet)
    if hider is None and hider_weights is None:
        client = tuned_hider(server).to(server.device)
    else:
        tuned = (server.card or {}).get("hider") or {}
        client = make("hider", hider or tuned.get("name", "lightih"), hider_weights, device)
        voice.other_hider(server, client)
    case = CovertCase(name="covert", title=f"{secret.name} in {cover.name}", secret=scan, cover=photograph)
    make_folder(output)
    result = run_case(case, client, server, output, seed=seed, overwrite=force, prefix="")
    write_report(output / "report.html", "Covert analysis", [result], overwrite=force)
    f = result.figures
    voice.table(
        f"{output / 'report.html'}",
        [
            ("stego against cover", f"{decibels(f['stego_psnr'])}, SSIM {f['stego_ssim']:.3f}"),
            ("response against cover", f"{decibels(f['response_psnr'])}, SSIM {f['response_ssim']:.3f}"),
            ("scan recovered from the stego", decibels(f["recovered_psnr"])),
            ("foreground in the mask", f"{f['foreground']:.1%}"),
        ],
    )
    voice.finish({"output": str(output), "hider": client.name, "analyzer": server.name, **f})
