"""``privmed covert``: the three steps of covert analysis, each through a file, with a picture and figures."""

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
    Seed,
    Strict,
    TokenFile,
    Use,
    Voice,
    check_outputs,
    decibels,
    in_use,
    in_words,
    make,
    recovered_words,
)

FILES = ("stego.png", "response.png", "recovered.png", "error-map.png", "mask.png", "mask.dcm", "report.html")


def command(
    secret: Annotated[Path, typer.Argument(help="The scan: PNG, JPEG, TIFF or DICOM.")],
    cover: Annotated[Path, typer.Argument(help="The photograph.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for everything that comes out.")],
    hider: Annotated[str | None, typer.Option(help="Method; by default the one the analyzer was tuned to.")] = None,
    hider_weights: Annotated[str | None, typer.Option(help="The hider's weights: bundled name or file.")] = None,
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="The analyzer's weights: busi, isic or a file.")] = None,
    server_url: Annotated[str | None, typer.Option("--server", help="Where the analyzer runs: https://HOST.")] = None,
    token_file: TokenFile = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow http:// to a server that is not this machine.")
    ] = False,
    seg: Annotated[bool, typer.Option("--seg", help="Write the mask of a DICOM scan as DICOM SEG too.")] = False,
    frame: Frame = None,
    allow_lossy: AllowLossy = False,
    use: Use = "measure",
    strict: Strict = False,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hide, analyse, recover: the whole way, with a report."""
    from privmed import __version__
    from privmed.errors import SettingsError
    from privmed.files import check_folder, whole_folder

    check_folder(output)
    if output.exists():
        check_outputs([output / name for name in FILES], force, (secret, cover))
    from privmed.covert.case import CovertCase, run_case
    from privmed.covert.fidelity import fidelity
    from privmed.covert.report import write_report
    from privmed.imaging import read, read_secret
    from privmed.imaging.segmentation import check_segmentable, write_segmentation
    from privmed.pipeline import tuned_hider

    fidelity(use)
    picture = read_secret(secret, frame=frame, allow_lossy=allow_lossy)
    if seg:
        check_segmentable(picture)
    scan, photograph = picture.tensor(), read(cover, frame=0).tensor()  # of a cover, any picture will do
    server = make("analyzer", analyzer, weights, device)
    if server_url is not None:
        server = elsewhere(server, server_url, token_file, insecure)
    elif token_file is not None or insecure:
        raise SettingsError("--token-file and --insecure are of no use without --server.")
    voice = Voice(json, quiet)
    if hider is None and hider_weights is None:
        client = tuned_hider(server).to(server.device)
    else:
        tuned = (server.card or {}).get("hider") or {}
        client = make("hider", hider or tuned.get("name", "lightih"), hider_weights, device)
        voice.other_hider(server, client)
    case = CovertCase(name="covert", title=f"{secret.name} in {cover.name}", secret=scan, cover=photograph)
    weights_words = in_words(client, server)
    with whole_folder(output, overwrite=force) as folder:
        result = run_case(case, client, server, folder, seed=seed, prefix="", use=use, strict=strict)
        write_report(folder / "report.html", "Covert analysis", [result], weights_words)
        if seg and "mask" in result.images:
            write_segmentation(folder / "mask.dcm", picture, result.images["mask"], in_words(server), __version__)
    f = result.figures
    voice.table(
        f"{output / 'report.html'}",
        [
            ("stego against cover", f"{decibels(f['stego_psnr'])}, SSIM {f['stego_ssim']:.3f}"),
            ("response against cover", f"{decibels(f['response_psnr'])}, SSIM {f['response_ssim']:.3f}"),
            ("scan recovered from the stego", recovered_words(f)),
            *([("lost", picture.beyond_view)] if picture.beyond_view else []),
            ("read out of the response", result.outcome.words),
            ("weights", weights_words),
            *([("analysed by", server_url)] if server_url else []),
        ],
    )
    for words in result.warnings:
        voice.warn(words)
    voice.finish(
        {
            "output": str(output),
            "hider": client.name,
            "analyzer": server.name,
            "weights": in_use(hider=client, analyzer=server),
            "server": server_url,
            "use": use,
            "lost": picture.beyond_view or None,
            **f,
            "outcome": result.outcome.kind,
            **result.outcome.figures,
            "warnings": result.warnings,
        }
    )


def elsewhere(local: Any, url: str, token_file: Path | None, insecure: bool) -> Any:
    """The same analyzer on a server; what it answers is decoded here."""
    from privmed.client import RemoteAnalyzer
    from privmed.tokens import tokens

    return RemoteAnalyzer(url, local, next(iter(tokens(token_file)), None), insecure=insecure)
