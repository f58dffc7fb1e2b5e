"""``privmed unlock``: marked images and a key in, the originals out, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter, bar, resumable
from privmed.cli.locks import Identities, PassphraseFile, openers_from


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder of marked images, or some of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the originals.")],
    key: Annotated[Path, typer.Option("--key", help="The key file.")],
    identity: Identities = None,
    passphrase_file: PassphraseFile = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    restore_names: Annotated[
        bool,
        typer.Option("--restore-names", help="Write each image under the name it was marked under, wherever it lies."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder an interrupted run left.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Lift the marks of a data set. What was altered, moved to another name, or is not in the key, is named and left out."""
    from privmed.data.folders import ImageFolder
    from privmed.data.keyring import Keyring, names_of, true_names, unlock_file
    from privmed.data.release import Release, check_apart
    from privmed.errors import KeyFileError
    from privmed.keyfile import read_key

    reporter = Reporter(json, quiet)
    source = ImageFolder(dataset, lenient=True)
    check_apart(source, output)
    keys = Keyring([(str(key), read_key(key, openers_from(passphrase_file, identity, reporter)))])
    items = source.present()[:limit]
    names, copies = true_names(source, items, keys) if restore_names else ({}, {})

    def lift(item, draft) -> dict:
        if item.image in copies:
            raise KeyFileError(f"{item.image}: is a copy of {copies[item.image]}, which is here as well.")
        called = {names[item.image]} if item.image in names else names_of(source, item)
        unlock_file(item.image, draft, keys, called)
        return {}

    with Release(source, output, {"unlocked": True}, resume=resume, names=names) as release, resumable(output):
        with bar(reporter, "unlocking") as tick:
            outcome = release.run(items, lift, tick)
        release.finish(items, outcome.failed)
    reporter.table(f"originals in {output}", [("images", str(len(release.lines)))])
    reporter.left_out(outcome.failed)
    failed = [{"file": name, "reason": why} for name, why in outcome.failed]
    reporter.finish({"output": str(output), "images": len(release.lines), "failed": failed})
    if failed:
        raise typer.Exit(1)
