"""``privmed unlock``: marked images and a key in, the originals out, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter, bar, resumable
from privmed.cli.engines import Address, DryRun, Engine, MaxFailures, Part, RetryFailed, Workers, job_of, preview
from privmed.cli.locks import Identities, PassphraseFile, openers_from


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder of marked images, or some of them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the originals.")],
    key: Annotated[list[Path], typer.Option("--key", help="The key file; several for a set marked in shards.")],
    identity: Identities = None,
    passphrase_file: PassphraseFile = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    restore_names: Annotated[
        bool,
        typer.Option("--restore-names", help="Write each image under the name it was marked under, wherever it lies."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder an interrupted run left.")] = False,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    shard: Part = None,
    max_failures: MaxFailures = None,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Lift the marks of a data set. What was altered, moved to another name, or is not in the key, is named and left out."""
    from privmed.data.keyring import Keyring, Lifting, true_names
    from privmed.data.release import Release, check_apart
    from privmed.data.studies import StudyFolder
    from privmed.errors import SettingsError
    from privmed.keyfile import read_key

    reporter = Reporter(json, quiet)
    source = StudyFolder(dataset, lenient=True)
    check_apart(source, output)
    job = job_of(
        "unlock",
        reporter,
        engine=engine,
        workers=workers,
        address=address,
        shard=shard,
        max_failures=max_failures,
        retry_failed=retry_failed,
        about={"limit": limit},
    )
    if job.shard and restore_names:
        raise SettingsError("--shard: a part of the images does not tell copies apart. Leave out --restore-names.")
    openers = openers_from(passphrase_file, identity, reporter)
    keys = Keyring([(str(path), read_key(path, openers)) for path in key])
    items = source.marked()[:limit]
    names, copies = true_names(source, items, keys) if restore_names else ({}, {})

    resume = resume or retry_failed
    release = Release(source, output, {"unlocked": True}, resume=resume, names=names, job=job)
    items = job.part(items, map(release.name, items))
    if dry_run:
        return preview(reporter, job, output, *release.preview(items))
    with release, resumable(output):
        with bar(reporter, "unlocking") as tick:
            outcome = release.run(items, Lifting(source, keys, names, copies), tick)
        release.finish(items, outcome.failed)
    copied = sum(item.image in source.copied for item in source.present())
    rows = [("images", str(len(release.lines)))] + ([("not marked, copied", str(copied))] if copied else [])
    reporter.table(f"originals in {output}", rows)
    reporter.left_out(outcome.failed)
    failed = [{"file": name, "reason": why} for name, why in outcome.failed]
    reporter.finish({"output": str(output), "images": len(release.lines), "copied": copied, "failed": failed})
    if failed:
        raise typer.Exit(1)
