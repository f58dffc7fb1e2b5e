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
    Quiet,
    Reporter,
    Seed,
    Set,
    check_outputs,
    in_use,
    in_words,
    make,
    settings,
)
from privmed.cli.files import FileCommand, KeyFile, carries_files, give_key
from privmed.cli.locks import PassphraseFile


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
    analyzer_weights: Annotated[str | None, typer.Option(help="Its weights: busi, isic or a file.")] = None,
    set_: Set = None,
    force: Force = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read the hidden scan, or the analyzer's result."""
    from privmed.errors import SettingsError

    if as_ not in ("image", "mask", "class"):
        raise SettingsError(f"--as must be image, mask or class, got {as_!r}.")
    check_outputs([output], force, tuple(filter(None, (image, key, passphrase_file))))
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
        return job.recover(image)
    from privmed.imaging import read_wire, write_view
    from privmed.pipeline import Pipeline, decode, recover, tuned_hider

    seen = read_wire(image)
    server = make("analyzer", analyzer, analyzer_weights, device) if as_ != "image" else None
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
    if server is None:
        write_view(output, Pipeline(recover(method))(seen, seed=seed).recovered, overwrite=force)
        reporter.say(f"{output}: the hidden scan.")
    else:
        from privmed.covert.outcome import read_outcome

        run = (recover(method) | decode(server))(seen, seed=seed)
        outcome = read_outcome(server, run, str(image))
        _write_result(run.prediction, outcome, output, as_, force)
        reporter.say(f"{output}: {outcome.words}.")
        result |= {"outcome": outcome.kind, **outcome.figures, "warnings": outcome.warnings}
        for words in result["warnings"]:
            reporter.warn(words)
    reporter.say(f"weights: {in_words(method, server)}")
    reporter.finish(result)


def _write_result(found, outcome, output: Path, as_: str, force: bool) -> None:
    """Write a mask as a PNG, or a class with its probabilities as JSON."""
    from json import dumps

    from privmed.covert.outcome import map_picture
    from privmed.errors import SettingsError
    from privmed.files import whole_file
    from privmed.imaging import write_view

    classifies = found.ndim == 2
    if classifies != (as_ == "class"):
        fitting = ("classifies", "class") if classifies else ("segments", "mask")
        raise SettingsError(f"--as {as_}: this analyzer {fitting[0]}. Use --as {fitting[1]}.")
    if not classifies:
        write_view(output, map_picture(found), overwrite=force)
        return
    with whole_file(output, overwrite=force) as temporary:
        temporary.write_text(dumps({"outcome": outcome.kind, **outcome.figures}, indent=2) + "\n", encoding="utf-8")
