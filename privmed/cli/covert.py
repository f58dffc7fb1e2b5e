"""``privmed covert``: the three steps of covert analysis, each through a file, with a picture and figures."""

from __future__ import annotations

import re
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
    Peak,
    Quiet,
    Refine,
    Reporter,
    Seed,
    Strict,
    TokenFile,
    Use,
    bar,
    check_outputs,
    decibels,
    in_use,
    in_words,
    make,
    reading,
    recovered_words,
)

FILES = ("stego.png", "response.png", "recovered.png", "error-map.png", "mask.png")  # of each photograph
TOGETHER = ("mask.png", "mask.dcm", "capture.dcm", "uncertainty.png", "report.html")
OURS = re.compile(rf"([0-9]+-)?({'|'.join(map(re.escape, FILES))})|{'|'.join(map(re.escape, TOGETHER))}")


def command(
    secret: Annotated[Path, typer.Argument(help="The scan: PNG, JPEG, TIFF or DICOM.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for everything that comes out.")],
    covers: Annotated[
        list[Path] | None, typer.Argument(metavar="COVER...", help="The photograph; of several, outputs are averaged.")
    ] = None,
    cover: Annotated[
        Path | None, typer.Option(help="A folder of photographs, of which those are taken that hide best.")
    ] = None,
    count: Annotated[int, typer.Option("--covers", min=1, help="How many of them are taken.")] = 1,
    hider: Annotated[str | None, typer.Option(help="Method; by default the one the analyzer was tuned to.")] = None,
    hider_weights: Annotated[str | None, typer.Option(help="The hider's weights: bundled name or file.")] = None,
    analyzer: Annotated[str, typer.Option(help="Method.")] = "hidemia",
    weights: Annotated[str | None, typer.Option(help="The analyzer's weights: busi, isic, cxr or a file.")] = None,
    peak: Peak = None,
    server_url: Annotated[str | None, typer.Option("--server", help="Where the analyzer runs: https://HOST.")] = None,
    token_file: TokenFile = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow http:// to a server that is not this machine.")
    ] = False,
    seg: Annotated[bool, typer.Option("--seg", help="Write the mask of a DICOM scan as DICOM SEG too.")] = False,
    capture: Annotated[
        bool,
        typer.Option("--capture", help="Write it as DICOM secondary capture: for viewers without SEG, and one frame."),
    ] = False,
    frame: Frame = None,
    allow_lossy: AllowLossy = False,
    use: Use = "measure",
    strict: Strict = False,
    refine: Refine = "auto",
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
    from privmed.files import check_folder, whole_folder, writing

    given = _given(secret, covers or [], cover, count)
    many = len(given) if cover is None else count
    prefixes = [f"{k + 1}-" for k in range(many)] if many > 1 else [""]
    check_folder(output)
    if output.exists():
        names = {f"{prefix}{name}" for prefix in prefixes for name in FILES} | {*TOGETHER}
        names |= {path.name for path in output.iterdir() if force and OURS.fullmatch(path.name)}  # which go
        check_outputs([output / name for name in sorted(names)], force, (secret, *given))
    from privmed.covert import several
    from privmed.covert.case import CovertCase, run_case
    from privmed.covert.fidelity import fidelity
    from privmed.covert.report import write_report
    from privmed.data.exchange import check_photographs
    from privmed.imaging import read, read_secret
    from privmed.imaging.capture import write_capture
    from privmed.imaging.segmentation import check_described, check_segmentable, write_segmentation
    from privmed.interfaces.abilities import Keyed, missing
    from privmed.pipeline import best_covers, of_images, tuned_hider
    from privmed.refine import refinement_of

    fidelity(use)
    how, auto = refinement_of(refine)
    picture = read_secret(secret, frame=frame, allow_lossy=allow_lossy)
    if seg:
        check_segmentable(picture)
    if capture:
        check_described(picture)
    scan = picture.tensor()
    photographs = ((path, read(path, frame=0).tensor()) for path in given)  # of a cover, any picture will do
    server = make("analyzer", analyzer, weights, device, **reading(peak))
    if server_url is not None:
        server = elsewhere(server, server_url, token_file, insecure)
    elif token_file is not None or insecure:
        raise SettingsError("--token-file and --insecure are of no use without --server.")
    reporter = Reporter(json, quiet)
    if hider is None and hider_weights is None:
        client = tuned_hider(server).to(server.device)
    else:
        tuned = (server.card or {}).get("hider") or {}
        client = of_images(make("hider", hider or tuned.get("name", "lightih"), hider_weights, device))
        if not missing(client, Keyed):
            raise SettingsError(
                f"--hider {client.name}: hides under a key, and nothing can be analysed in that. Choose one that needs no key."
            )
        reporter.other_hider(server, client)
    if cover is None:
        check_photographs(secret, given)
    chosen = list(photographs) if cover is None else best_covers(client, scan, photographs, count, seed=seed)
    weights_words, results = in_words(client, server), []
    with whole_folder(output, overwrite=force) as folder, bar(reporter, "hiding") as tick:
        for k, (prefix, (path, photograph)) in enumerate(zip(prefixes, chosen)):
            case = CovertCase(name="covert", title=f"{secret.name} in {path.name}", secret=scan, cover=photograph)
            options = {"seed": seed + k, "prefix": prefix, "use": use, "strict": strict, "refine": how, "auto": auto}
            results.append(run_case(case, client, server, folder, progress=tick, **options))
        together = several.join(results, server) if many > 1 else None
        if together is not None:
            several.write(together, folder)
        lead = several.section(together, results[0].images["secret"]) if together is not None else None
        write_report(folder / "report.html", "Covert analysis", results, weights_words, lead=lead)
        found = (together or results[0]).images.get("foreground")
        if seg and found is not None:
            write_segmentation(folder / "mask.dcm", picture, found, in_words(server), __version__)
        if capture and found is not None:
            write_capture(folder / "capture.dcm", picture, found, in_words(server), __version__, frame=frame)
        made = {path.name for path in folder.iterdir()}
    for path in output.iterdir() if force else ():
        if OURS.fullmatch(path.name) and path.name not in made:  # of an earlier scan; nobody must take it for this one
            with writing(path):
                path.unlink()
    rows = [row for result in results for row in _rows(result, many)]
    rows += [("all photographs together", together.words)] if together is not None else []
    rows += [("lost", picture.beyond_view)] if picture.beyond_view else []
    rows += [("weights", weights_words), *([("analysed by", server_url)] if server_url else [])]
    reporter.table(f"{output / 'report.html'}", rows)
    warnings = [words for result in results for words in result.warnings]
    for words in warnings:
        reporter.warn(words)
    each = [{"cover": str(path), **_figures(result)} for (path, _), result in zip(chosen, results)]
    reporter.finish(
        {
            "output": str(output),
            "hider": client.name,
            "analyzer": server.name,
            "weights": in_use(hider=client, analyzer=server),
            "server": server_url,
            "use": use,
            "lost": picture.beyond_view or None,
            **(each[0] if together is None else {"photographs": each, **together.figures}),
            "warnings": warnings,
        }
    )


def _given(secret: Path, covers: list[Path], folder: Path | None, count: int) -> list[Path]:
    """The photographs that were named, or all in the folder that was; one that is there twice counts once.

    Raises:
        SettingsError: when there are none, or both.
        InputError: when the folder holds too few.
    """
    from privmed.data.exchange import distinct
    from privmed.errors import InputError, SettingsError

    if folder is None:
        if not covers or count != 1:
            raise SettingsError(
                "name one photograph or several, or a folder with --cover DIR and how many of it with --covers."
            )
        return covers
    if covers:
        raise SettingsError("--cover DIR chooses photographs itself: name none beside it.")
    from privmed.data.folders import ImageFolder

    found = distinct((item.image for item in ImageFolder(folder).present()), apart_from=[secret])
    if len(found) < count:
        raise InputError(
            f"{folder}: holds {len(found)} different pictures that are not the scan, too few for --covers {count}."
        )
    return found


def _figures(result) -> dict:
    """What is measured with one photograph, for programs."""
    return {**result.figures, "outcome": result.outcome.kind, **result.outcome.figures}


def _rows(result, many: int) -> list[tuple[str, str]]:
    """The same for people."""
    f, title = result.figures, [(result.case.title, "")] if many > 1 else []
    return [
        *title,
        ("stego against cover", f"{decibels(f['stego_psnr'])}, SSIM {f['stego_ssim']:.3f}"),
        ("response against cover", f"{decibels(f['response_psnr'])}, SSIM {f['response_ssim']:.3f}"),
        ("scan recovered from the stego", recovered_words(f)),
        *([("refined", f"{f['refined']} steps")] if f["refined"] else []),
        ("read out of the response", result.outcome.words),
    ]


def elsewhere(local: Any, url: str, token_file: Path | None, insecure: bool) -> Any:
    """The same analyzer on a server; what it answers is decoded here."""
    from privmed.client import RemoteAnalyzer
    from privmed.tokens import tokens

    return RemoteAnalyzer(url, local, next(iter(tokens(token_file)), None), insecure=insecure)
