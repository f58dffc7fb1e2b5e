"""``privmed recover``: read the scan (or, with a key, the file) out of a stego, or the result out of a response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import (
    Debug,
    Device,
    Force,
    Json,
    Peak,
    Quiet,
    Reporter,
    Seed,
    Set,
    bar,
    check_outputs,
    in_use,
    in_words,
    make,
    reading,
    settings,
)
from privmed.cli.files import FileCommand, KeyFile, carries_files, give_key
from privmed.cli.folders import NONE, Several, about_of, for_folders, on_folder, refuse_force
from privmed.cli.locks import PassphraseFile


@for_folders
def command(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="A stego or a response: the PNG that was sent, unchanged.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="What was hidden, a PNG; of a class, JSON; with a key, the file.")
    ],
    as_: Annotated[
        str, typer.Option("--as", help="image: the hidden scan; mask or class: the analyzer's result.")
    ] = "image",
    hider: Annotated[
        str | None,
        typer.Option(help="Method; by default lightih, the one the analyzer was tuned to, or lsbm with a key."),
    ] = None,
    key: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    weights: Annotated[str | None, typer.Option(help="The hider's weights: bundled name or file.")] = None,
    analyzer: Annotated[str, typer.Option(help="Whose answer a mask is read from.")] = "hidemia",
    analyzer_weights: Annotated[str | None, typer.Option(help="Its weights: busi, isic, cxr or a file.")] = None,
    peak: Peak = None,
    set_: Set = None,
    force: Force = False,
    several: Several = NONE,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read the hidden scan, or the analyzer's result."""
    from privmed.errors import InputError, SettingsError

    if as_ not in ("image", "mask", "class"):
        raise SettingsError(f"--as must be image, mask or class, got {as_!r}.")
    if peak is not None and as_ != "mask":
        raise SettingsError("--peak is about the regions of a mask: give --as mask, or leave it out.")
    folder = image.is_dir()
    if not folder:
        several.check_unused(image)
        check_outputs([output], force, tuple(filter(None, (image, key, passphrase_file))))
    else:
        refuse_force(force)
    if carries_files(context, hider):
        if folder:
            raise InputError(f"{image}: is a folder, and files under a key are recovered one by one. Name a file.")
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
        return job.recover(image)
    from privmed.covert.files import Recovering
    from privmed.imaging import read_wire
    from privmed.pipeline import tuned_hider

    if not folder:
        read_wire(image)  # refused before weights are loaded
    server = make("analyzer", analyzer, analyzer_weights, device, **reading(peak)) if as_ != "image" else None
    reporter = Reporter(json, quiet)
    if server is not None and hider is None and weights is None:
        method = tuned_hider(server, **settings(set_)).to(server.device)
    else:
        tuned = (getattr(server, "card", None) or {}).get("hider") or {}
        method = make("hider", hider or tuned.get("name", "lightih"), weights, device, set_)
        give_key(method, key)
        if server is not None:
            reporter.other_hider(server, method)
    result = {
        "output": str(output),
        "hider": method.name,
        "as": as_,
        "weights": in_use(hider=method, analyzer=server),
        "warnings": [],
    }
    task = Recovering(method=method, server=server, as_=as_, seed=seed)
    if folder:
        about = {**about_of(hider=method, analyzer=server), "as": as_, "seed": seed}
        suffix = ".json" if as_ == "class" else ".png"
        return on_folder("recover", task, image, output, several, reporter, device=device, about=about, suffix=suffix)
    with bar(reporter, "recovering") as tick:
        figures, outcome = task(image, output, seed=seed, overwrite=force, progress=tick)
    reporter.say(f"{output}: {outcome.words if outcome else 'the scan, if this hider hid one with these weights'}.")
    result |= figures
    for words in result["warnings"]:
        reporter.warn(words)
    reporter.say(f"weights: {in_words(method, server)}")
    reporter.finish(result)
