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
from privmed.cli.folders import NONE, Several, about_of, for_folders, on_folder, refuse_force


@for_folders
def command(
    stego: Annotated[Path, typer.Argument(help="A PNG made by privmed hide.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The response, a PNG.")],
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="Bundled name (busi, isic, cxr) or file.")] = None,
    set_: Set = None,
    force: Force = False,
    several: Several = NONE,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Analyse a hidden scan without extracting it."""
    from privmed.covert.files import Analysing
    from privmed.imaging import read_wire

    reporter = Reporter(json, quiet)
    if stego.is_dir():
        refuse_force(force)
        method = make("analyzer", analyzer, weights, device, set_)
        about = {**about_of(analyzer=method), "seed": seed}
        task = Analysing(method=method, seed=seed)
        return on_folder("analyze", task, stego, output, several, reporter, device=device, about=about)
    several.check_unused(stego)
    check_outputs([output], force, (stego,))
    read_wire(stego)  # refused before weights are loaded
    method = make("analyzer", analyzer, weights, device, set_)
    figures = Analysing(method=method)(stego, output, seed=seed, overwrite=force)
    tuned = (method.card or {}).get("hider") or {}
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
