"""``privmed watermark``: a data set in, one with visible marks that mislead strangers' models out, and a key that lifts them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Set, Voice, bar, make, pick_device, settings
from privmed.cli.locks import Identities, PassphraseFile, Recipients, locks_from, openers_from


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder: one sub-folder per class, or images/ with labels.csv.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the marked data set.")],
    key: Annotated[Path, typer.Option("--key", help="Key file to write; it lifts all marks of this data set.")],
    model: Annotated[
        list[Path],
        typer.Option(
            "--model",
            help="Model to mislead (.safetensors, .pt, .pt2, .pth, .onnx, torchvision:NAME); several: ensemble.",
        ),
    ],
    share: Annotated[list[float] | None, typer.Option("--share", help="Weight of each model in the ensemble.")] = None,
    watermarker: Annotated[str, typer.Option(help="Method.")] = "medlocker",
    logo: Annotated[Path | None, typer.Option(help="Picture of the mark; a shield by default.")] = None,
    where: Annotated[str, typer.Option(help="anywhere, outside or inside the lesions of masks/.")] = "anywhere",
    owner: Annotated[str, typer.Option(help="Whose marks these are; `privmed verify` says it.")] = "",
    recipient: Recipients = None,
    identity: Identities = None,
    passphrase_file: PassphraseFile = None,
    split: Annotated[str | None, typer.Option(help="Only this part of split.csv, e.g. train.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be marked.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="The same marks again; by default they are drawn from a secret in the key.")
    ] = None,
    together: Annotated[int, typer.Option(min=1, help="Images searched at a time.")] = 8,
    set_: Set = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Mark images visibly so that models err and doctors do not. The key lifts the marks bit by bit."""
    import hashlib
    import os

    from privmed.data.folders import ImageFolder
    from privmed.data.release import Release, check_apart
    from privmed.data.watermark import WHERE, Marking, secret_mark, watermark_set
    from privmed.errors import Interrupted, OutputError, PrivmedError, SettingsError, did_you_mean
    from privmed.files import check_writable
    from privmed.imaging.logo import draw_logo, read_logo
    from privmed.keyfile import KeyWriter, part_of
    from privmed.oracles import Ensemble, fingerprint, load_oracle
    from privmed.settings import unstructure

    if where not in WHERE:
        raise SettingsError(f"--where must be one of {', '.join(WHERE)}, got {where!r}.{did_you_mean(where, WHERE)}")
    source = ImageFolder(dataset, lenient=True)
    check_apart(source.path, output)
    check_writable(key)
    if part_of(key).exists() and not resume:
        raise OutputError(
            f"{part_of(key)}: an interrupted run left it. Go on with --resume, or delete it and {output}."
        )
    place = pick_device(device)
    oracle = Ensemble([load_oracle(m, place) for m in model], share)
    locker = make("watermarker", watermarker, None, device, **settings(set_))
    mark = draw_logo() if logo is None else read_logo(logo)
    items = source.items(split)[:limit]
    about = {
        "watermarker": watermarker,
        "config": unstructure(locker.config),
        "where": where,
        "model": [f"{m.stem}:{fingerprint(m)}" for m in model],
        "logo": hashlib.sha256(mark.numpy().tobytes()).hexdigest()[:16],
    }
    voice = Voice(json, quiet)
    if resume and part_of(key).exists():
        writer, entries = KeyWriter.resume(key, openers_from(passphrase_file, identity, voice))
        secret, known = entries[0]["secret"], {e["file"]: e for e in entries[1:]}
        if entries[0]["about"] != about:
            raise SettingsError(f"{part_of(key)}: was begun with other settings. Go on with the same ones.")
    else:
        secret = os.urandom(32) if seed is None else hashlib.sha256(f"privmed {seed}".encode()).digest()
        known = {}
        writer = None
    release = Release(source, output, about, resume=resume, mark_of=secret_mark(secret))
    if writer is None:
        writer = KeyWriter(key, locks_from(passphrase_file, recipient, voice))
        writer.add({"owner": owner, "secret": secret, "about": about})
    marking = Marking(
        locker=locker, logo=mark, oracle=oracle, classes=oracle.classes, secret=secret, where=where, together=together
    )
    try:
        with bar(voice, "marking") as tick:
            outcome = watermark_set(release, items, marking, writer, known, strict=strict, tick=tick)
    except PrivmedError:
        if not known:  # nothing was marked, so nothing is to be gone on with
            writer.part.unlink()
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(f"{output}: interrupted. What is written is whole; go on with --resume.") from error
    release.finish(items, outcome.failed)
    writer.close()
    report(voice, release, key, outcome)
    if outcome.failed:
        raise typer.Exit(1)


def report(voice: Voice, release, key: Path, outcome) -> None:
    """Say what was done, and what could not be."""
    lines = list(release.lines.values())
    right = [line for line in lines if line["was_right"]]
    misled = sum(line["misled"] for line in right)
    rows = [("images", str(len(lines)) + (f" ({outcome.kept} from before)" if outcome.kept else ""))]
    if right:
        rows.append(("misled", f"{misled} of {len(right)} that the model had right ({misled / len(right):.0%})"))
        rows.append(("queries", f"{sum(line['queries'] for line in lines) / len(lines):.0f} an image"))
    rows.append(("key", f"{key} ({key.stat().st_size / 1024:.0f} kB). Without it the originals cannot be restored."))
    voice.table(f"marked data set in {release.out}", rows)
    voice.left_out(outcome.failed)
    voice.finish(
        {
            "output": str(release.out),
            "key": str(key),
            "images": len(lines),
            "right_before": len(right),
            "misled": misled,
            "failed": [{"file": name, "reason": why} for name, why in outcome.failed],
        }
    )
