"""``privmed analyze``: what the server does. It sees a photograph, and answers with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import (
    Debug,
    Device,
    Force,
    Json,
    Quiet,
    Reporter,
    Seed,
    Set,
    check_outputs,
    decibels,
    in_use,
    in_words,
    make,
)


def command(
    stego: Annotated[Path, typer.Argument(help="A PNG made by privmed hide.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The response, a PNG.")],
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="Bundled name (busi, isic) or file.")] = None,
    set_: Set = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Analyse a hidden scan without extracting it."""
    check_outputs([output], force, (stego,))
    from privmed.imaging import read_wire, write_wire
    from privmed.metrics import psnr, ssim

    seen = read_wire(stego)
    method = make("analyzer", analyzer, weights, device, set_)
    held = write_wire(output, method.analyze(seen, generator=seed), overwrite=force)
    figures = {"response_psnr": float(psnr(held, seen)), "response_ssim": float(ssim(held, seen))}
    tuned = (method.card or {}).get("hider") or {}
    reporter = Reporter(json, quiet)
    rows = [("response against stego", f"{decibels(figures['response_psnr'])}, SSIM {figures['response_ssim']:.3f}")]
    rows.append(("weights", in_words(method)))
    if tuned:
        rows.append(("made for stegos of", f"{tuned['name']} (weights {tuned['weights']})"))
    reporter.table(f"{output} answers {stego.name}", rows)
    reporter.finish(
        {
            "output": str(output),
            "analyzer": analyzer,
            "weights": in_use(analyzer=method),
            "hider": tuned or None,
            **figures,
        }
    )
