"""``privmed watermark``: a data set in, one with visible marks that mislead strangers' models out, and a key that lifts them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import (
    LARGEST_SEED,
    Debug,
    Device,
    Json,
    Quiet,
    Reporter,
    Set,
    TrustModel,
    bar,
    check_split,
    make,
    resumable,
    settings,
)
from privmed.cli.engines import Address, DryRun, Engine, MaxFailures, Part, RetryFailed, Workers, job_of, preview
from privmed.cli.locks import Identities, PassphraseFile, Recipients, locks_from, openers_from
from privmed.cli.studies import CopyRest, Deidentify, Secret, Studies, changed, check_kept_apart, tell


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder: one sub-folder per class, or images/ with labels.csv.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the marked data set.")],
    key: Annotated[Path, typer.Option("--key", help="Key file to write; it lifts all marks of this data set.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            help="Model to mislead (.safetensors, .pt, .pt2, .pth, .onnx, torchvision:NAME); several: ensemble.",
        ),
    ] = None,
    trust_model: TrustModel = False,
    share: Annotated[list[float] | None, typer.Option("--share", help="Weight of each model in the ensemble.")] = None,
    watermarker: Annotated[str, typer.Option(help="Method.")] = "medlocker",
    logo: Annotated[Path | None, typer.Option(help="Picture of the mark; a shield by default.")] = None,
    where: Annotated[str, typer.Option(help="anywhere, outside or inside the lesions of masks/.")] = "anywhere",
    segmenter: Annotated[
        str | None,
        typer.Option(
            "--segmenter",
            help="METHOD:WEIGHTS, e.g. unet:FILE: a network that finds the lesions of images without a mask.",
        ),
    ] = None,
    owner: Annotated[str, typer.Option(help="Whose marks these are; `privmed verify` says it.")] = "",
    recipient: Recipients = None,
    identity: Identities = None,
    passphrase_file: PassphraseFile = None,
    split: Annotated[str | None, typer.Option(help="Only this part of the set: train or test.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be marked.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="The same marks again, for studies: who knows the seed can check guesses of the originals.",
        ),
    ] = None,
    copy_rest: CopyRest = False,
    deidentify: Deidentify = False,
    secret_key: Secret = None,
    together: Annotated[int, typer.Option(min=1, help="Images searched at a time.")] = 8,
    set_: Set = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    shard: Part = None,
    max_failures: MaxFailures = None,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Mark images visibly so that models err and doctors do not. The key lifts the marks bit by bit."""
    import hashlib
    import os

    from privmed.data.lesions import make_segmenter
    from privmed.data.marking import WHERE, Marker, Marking, Models, SecretMark
    from privmed.data.release import Release, check_apart
    from privmed.data.studies import StudyFolder
    from privmed.data.watermark import groups_of, watermark_set
    from privmed.devices import pick_device
    from privmed.errors import InputError, SettingsError, did_you_mean
    from privmed.imaging.keepout import KeepOut
    from privmed.imaging.logo import draw_logo, read_logo
    from privmed.interfaces.configs import LogoConfig
    from privmed.keyfile import KeyWriter
    from privmed.oracles import fingerprint
    from privmed.settings import structure, unstructure

    if segmenter is not None and where == "anywhere":
        raise SettingsError(
            "--segmenter: finds lesions, which --where anywhere does not ask for. Give --where outside or inside."
        )
    if where not in WHERE:
        raise SettingsError(f"--where must be one of {', '.join(WHERE)}, got {where!r}.{did_you_mean(where, WHERE)}")
    source = StudyFolder(dataset, lenient=True)
    check_apart(source, output)
    reporter, resume = Reporter(json, quiet), resume or retry_failed
    job = job_of(
        "watermark",
        reporter,
        engine=engine,
        workers=workers,
        address=address,
        device=pick_device(device),
        shard=shard,
        max_failures=max_failures,
        strict=strict,
        retry_failed=retry_failed,
        about={"split": split, "limit": limit},
    )
    if job.shard:
        key = key.with_name(f"{key.stem}.{job.shard.word}{key.suffix}")
    check_places(key, output, resume)
    check_apart(source, key)
    check_kept_apart(source, copy_rest, passphrase_file, secret_key, *(identity or []))
    check_split(reporter, source, split)
    studies = Studies(source, job, copy_rest, deidentify, secret_key)
    if job.shard and source.has_dicom and seed is None and secret_key is None:
        raise SettingsError(
            "--shard: all parts need the same new UIDs. Make a key (privmed keygen --shared -o KEY), and give --secret KEY."
        )
    if deidentify and seed is not None and secret_key is None:
        raise SettingsError(
            "--seed: who guesses it can trace the new names. Make a key (privmed keygen --shared -o KEY), and give --secret KEY, too."
        )
    people = sorted(fingerprint_of(r) for r in recipient or [])
    begun = unfinished(key) if resume else None
    model = model or []
    models = Models(model, share, pick_device(device), trust_model)
    oracle = models.load()
    locks = [] if begun else locks_from(passphrase_file, recipient, reporter)
    given = settings(set_)
    keep_out = structure(KeepOut, given.pop("keep_out", {}), "keep_out")
    locker = make("watermarker", watermarker, None, device, **given)
    if locker.needs_oracle and not model:
        raise SettingsError(f"{watermarker}: needs a model to mislead. Give --model.")
    if seed is not None and isinstance(locker.config, LogoConfig) and locker.config.jitter:
        raise SettingsError("--seed would make the jitter no secret. Leave one of them out.")
    network = None if segmenter is None else make_segmenter(segmenter, pick_device(device))
    mark = draw_logo(512) if logo is None else read_logo(logo)
    items = source.items(split)[:limit]
    about = {
        "watermarker": watermarker,
        "config": unstructure(locker.config),
        "where": where,
        "keep_out": unstructure(keep_out),
        "share": oracle.shares if oracle else [],
        "model": [f"{m.stem}:{fingerprint(m)}" for m in model],
        "logo": hashlib.sha256(mark.numpy().tobytes()).hexdigest()[:16],
    }
    if network is not None:
        about["segmenter"] = f"{network.method.name}:{(network.method.card or {}).get('sha256', '')[:12]}"
    studies.of_secret(b"")  # what the manifest says of it is known before the secret is
    about |= studies.about
    reporter.unlisted(source)
    secret = os.urandom(32) if seed is None else seeded(seed)
    known, writer = {}, None
    if begun:
        writer, entries = begun[1](key, openers_from(passphrase_file, identity, reporter))
        if entries:
            check_same(begun[0], entries[0], about, owner, people, None if seed is None else secret)
            secret, known = entries[0]["secret"], {e["file"]: e for e in entries[1:]}
    ids = [i.image.relative_to(source.path).as_posix() for i in items]
    groups = job.part(groups_of(items, together), [*ids, *studies.ids()])
    items = [item for group in groups for item in group]
    release = Release(source, output, about, resume=resume, mark_of=SecretMark(secret), job=job, identities=True)
    marking = Marking(
        locker=locker,
        logo=mark,
        oracle=oracle,
        classes=oracle.classes if oracle else [],
        secret=secret,
        where=where,
        segmenter=network,
        keep_out=keep_out,
        together=together,
        identity=studies.of_secret(secret),
    )
    if dry_run:
        return preview(reporter, job, output, *release.preview(items))
    with release, resumable(output):
        try:
            writer = writer or KeyWriter(key, locks)
            if not writer.count:
                writer.add({"owner": owner, "secret": secret, "about": about, "recipients": people})
            with bar(reporter, "marking") as tick:
                outcome = watermark_set(release, groups, Marker(marking, models), writer, known, tick)
            if not release.lines and (
                items or not job.shard
            ):  # a part may be left without any, as there are few groups
                if not known:  # what an earlier run marked may have been moved away, and still needs its key
                    writer.part.unlink(missing_ok=True)
                first = f" The first is {outcome.failed[0][0]}: {outcome.failed[0][1]}" if outcome.failed else ""
                raise InputError(f"none of the {len(items)} images could be marked, so there is no key.{first}")
        except BaseException:
            if writer is not None and writer.count <= 1:  # nothing was marked, so nothing is to be gone on with
                writer.part.unlink(missing_ok=True)
            raise
        carried = studies.carry(release, items, outcome.failed, reporter)
        release.finish(items, carried.failed)
        writer.close()
    figures = [known[name]["figures"] for name in release.lines if name in known]
    report(reporter, release, key, figures, outcome, carried)
    if carried.failed:
        raise typer.Exit(1)


def seeded(seed: int) -> bytes:
    """The secret of a run that can be repeated."""
    import hashlib

    return hashlib.sha256(f"privmed {seed}".encode()).digest()


def fingerprint_of(recipient: Path) -> str:
    """What tells a recipient from another."""
    import hashlib

    from privmed.locks import read_bytes

    return hashlib.sha256(read_bytes(recipient)).hexdigest()[:16]


def unfinished(key: Path):
    """The file of a key that is gone on with, and what opens it for that: one that was not closed, or else a complete one."""
    from privmed.keyfile import KeyWriter, part_of

    if part_of(key).exists():
        return part_of(key), KeyWriter.resume
    return (key, KeyWriter.reopen) if key.exists() else None


def check_same(begun: Path, first: dict, about: dict, owner: str, people: list[str], secret: bytes | None) -> None:
    """Go on with what a key was begun with, and nothing else."""
    from privmed.errors import SettingsError

    other = None
    if first["about"] != about:
        other = "with other settings"
    elif (owner and first["owner"] != owner) or secret not in (None, first["secret"]):
        other = "for another owner or with another seed"
    elif people and first["recipients"] != people:
        other = "for other recipients"
    if other:
        raise SettingsError(f"{begun}: was begun {other}. Go on with the same ones.")


def check_places(key: Path, output: Path, resume: bool) -> None:
    """Say before any work that the key cannot go there, or that there is nothing to go on with."""
    from privmed.errors import OutputError
    from privmed.files import check_writable
    from privmed.keyfile import part_of

    if output.resolve() in key.resolve().parents:
        raise OutputError(f"{key}: lies in {output}, which is published. Keep the key somewhere else.")
    check_writable(key, overwrite=resume, force=False)
    if part_of(key).exists() and not resume:
        raise OutputError(
            f"{part_of(key)}: an interrupted run left it. Go on with --resume, or delete it and {output}."
        )
    if resume and not unfinished(key) and output.is_dir() and any(output.iterdir()):
        raise OutputError(
            f"{output}: is not empty, and its unfinished key {part_of(key)} is gone. Choose another folder."
        )


def report(reporter: Reporter, release, key: Path, figures: list[dict], outcome, carried) -> None:
    """Say what was done, and what could not be."""
    right = [f for f in figures if f["was_right"]]
    misled = sum(f["misled"] for f in right)
    queries = sum(f["queries"] for f in figures) / max(1, len(figures))
    images = len(changed(release))
    rows = [("images", str(images) + (f" ({outcome.kept} from before)" if outcome.kept else ""))]
    if right:
        rows.append(("misled", f"{misled} of {len(right)} that the model had right ({misled / len(right):.0%})"))
    unfound = sum(f.get("lesion") == "none found" for f in figures)
    if by := sum(f.get("lesion") == "network" for f in figures) + unfound:
        rows.append(("lesions by the network", f"{by - unfound} of {by}"))
    if unfound:
        reporter.warn(
            f"on {unfound} images the network found no lesion, so their marks may cover one. Look at them, or give them masks."
        )
    if figures:
        rows.append(("queries", f"{queries:.0f} an image"))
    rows.append(("key", f"{key} ({key.stat().st_size / 1024:.0f} kB). Without it the originals cannot be restored."))
    reporter.table(f"marked data set in {release.out}", rows)
    reporter.left_out(carried.failed)
    reporter.finish(
        {
            "output": str(release.out),
            "key": str(key),
            "images": images,
            "right_before": len(right),
            "misled": misled,
            "queries": round(queries, 1),
            "no_lesion_found": unfound,
            "failed": [{"file": name, "reason": why} for name, why in carried.failed],
            **tell(reporter, release, carried.left),
        }
    )
