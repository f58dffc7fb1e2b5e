"""``privmed verify``: which images of a folder carry whose mark, untouched, moved or altered, without lifting it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter, bar
from privmed.cli.engines import Address, Engine, Workers, job_of
from privmed.cli.locks import Identities, PassphraseFile, openers_from

WORDS = {
    "untouched": "marked, pixels untouched",
    "moved": "marked, pixels untouched, but under another name",
    "altered": "marked or taken from a marked image, altered since",
    "original": "an original, its mark is off",
    "copied": "not marked, copied",
    "unknown": "not in the key",
    "unreadable": "cannot be read",
}


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder of images, wherever they were found.")],
    key: Annotated[list[Path], typer.Option("--key", help="Key file; several ask whose marks these are.")],
    identity: Identities = None,
    passphrase_file: PassphraseFile = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say which images of a folder are yours. Exit code 6 when a marked one was altered or moved, 1 when one cannot be read."""
    from collections import Counter

    from privmed.data.keyring import Keyring, Looking
    from privmed.data.studies import StudyFolder
    from privmed.jobs import Unit
    from privmed.keyfile import read_key

    reporter = Reporter(json, quiet)
    job = job_of("verify", reporter, engine=engine, workers=workers, address=address)
    openers = openers_from(passphrase_file, identity, reporter)
    keys = []
    for path in key:
        entries = read_key(path, openers)
        keys.append((entries[0].get("owner") or str(path), entries))
    told: dict[str, tuple[str, str, str]] = {}
    folder = StudyFolder(dataset, lenient=True)
    items = folder.present()[:limit]
    units = [Unit(item.image.relative_to(folder.path).as_posix(), item) for item in items]
    with bar(reporter, "verifying") as tick:

        def keep(unit, value) -> None:
            told[unit.id] = value

        done = iter(range(1, len(units) + 1))
        job.run(Looking(folder, Keyring(keys)), units, keep, tick=lambda: tick(next(done), len(units)))
    told |= dict.fromkeys((name for name, _ in job.failed), ("unreadable", "", ""))
    copied = {u.id for u in units if u.payload.image in folder.copied}
    for name in copied:
        if told[name][0] in ("unknown", "unreadable"):  # what a key knows is told as ever, whatever a manifest says
            told[name] = ("copied", "", "")
    found = [{"file": u.id, **dict(zip(("state", "owner", "name"), told[u.id]))} for u in units]
    at_home = {line["name"] for line in found if line["state"] == "untouched"}
    for line in found:
        line["copy"] = line["state"] == "moved" and line["name"] in at_home
        reporter.say(f"{line['file']}: {in_words(line)}")
    counts = Counter(line["state"] for line in found)
    reporter.table("in all", [(WORDS[s], str(counts[s])) for s in WORDS if counts[s]])
    reporter.finish({"images": found, **counts})
    if counts["altered"] or counts["moved"]:
        raise typer.Exit(6)
    if counts["unreadable"]:
        raise typer.Exit(1)


def in_words(line: dict) -> str:
    """What an image is, whose, and what it is called in the key if it is called something else."""
    words = WORDS[line["state"]]
    if line["state"] == "moved":
        words += f": it is {'a copy of ' if line['copy'] else ''}{line['name']}" + (
            ", which is here as well" if line["copy"] else ""
        )
    return words + (f" ({line['owner']})" if line["owner"] else "")
