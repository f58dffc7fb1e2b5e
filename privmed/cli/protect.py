"""``privmed protect``: a data set in, one that models cannot learn from out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Seed, Set, Voice, bar, make, settings


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder: images/ and masks/, or one sub-folder per class.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the protected data set.")],
    protector: Annotated[str, typer.Option(help="Method.")] = "umed",
    epsilon: Annotated[str, typer.Option(help="Largest change of a pixel: 4/255, or 0.0157.")] = "4/255",
    load: Annotated[
        str | None, typer.Option("--load", help="A fitted protector (.safetensors) instead of a fit.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the fitted protector (.safetensors).")] = None,
    split: Annotated[str | None, typer.Option(help="Only this part of split.csv, e.g. train.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")] = False,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder an interrupted run left.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Publish images that doctors can read and models cannot learn from."""
    from privmed.data.folders import ImageFolder
    from privmed.data.protect import pairs_of, protect_file
    from privmed.data.release import Release, check_apart
    from privmed.errors import Interrupted
    from privmed.interfaces.fitting import Fitting
    from privmed.settings import unstructure

    source = ImageFolder(dataset, lenient=True)
    check_apart(source.path, output)
    items = source.items(split)
    classes = sorted({i.label for i in items if i.label is not None})
    chosen = {"epsilon": epsilon, "seed": seed, **settings(set_)}
    method = make(
        "protector", protector, load, device, **with_classes(protector, chosen, classes if load is None else [])
    )
    release = Release(source, output, {"protector": protector, "config": unstructure(method.config)}, resume=resume)
    voice, unread = Voice(json, quiet), []
    voice.unlisted(source)

    def skip(item, error) -> None:
        if strict:
            raise error
        unread.append((release.name(item), str(error)))

    checkpoint = output / ".fit.pt"
    try:
        if load is None and method.learns:
            with bar(voice, f"fitting {protector}") as tick:
                fitting = Fitting(lambda stage, n, total, _: tick(n, total, stage), checkpoint)
                method.fit(pairs_of(items, classes, skip), fitting=fitting)
        if save is not None:
            from privmed import weights

            weights.save(method, save)
        bad = {name for name, _ in unread}
        good = [i for i in items if release.name(i) not in bad]
        with bar(voice, "writing") as tick:
            outcome = release.run(
                good, lambda item, target: protect_file(method, item, target, classes), strict=strict, tick=tick
            )
    except KeyboardInterrupt as error:
        raise Interrupted(f"{output}: interrupted. What is written is whole; go on with --resume.") from error
    failed = unread + outcome.failed
    release.finish(items, failed)
    checkpoint.unlink(missing_ok=True)
    report(voice, release, failed, outcome)
    if failed:
        raise typer.Exit(1)


def with_classes(protector: str, chosen: dict, classes: list[str]) -> dict:
    """Tell methods that want to know it how many classes the data set has."""
    from privmed import registry
    from privmed.settings import describe

    known = {row["name"] for row in describe(registry.load("protector", protector).Config)}
    counted = classes and "classes" in known and "classes" not in chosen
    return {**chosen, "classes": len(classes)} if counted else chosen


def report(voice: Voice, release, failed: list[tuple[str, str]], outcome) -> None:
    """Say what was done, and what could not be."""
    from statistics import fmean

    lines = list(release.lines.values())
    summary = {
        "output": str(release.out),
        "images": len(lines),
        "psnr": fmean(line["psnr"] for line in lines) if lines else None,
        "ssim": fmean(line["ssim"] for line in lines) if lines else None,
        "largest_change": max((line["largest_change"] for line in lines), default=None),
        "failed": [{"file": name, "reason": why} for name, why in failed],
    }
    rows = [("images", str(len(lines)) + (f" ({outcome.kept} from before)" if outcome.kept else ""))]
    if lines:
        rows += [("PSNR", f"{summary['psnr']:.2f} dB"), ("SSIM", f"{summary['ssim']:.4f}")]
        rows += [("largest change", f"{summary['largest_change'] * 255:.2f} / 255")]
    voice.table(f"protected data set in {release.out}", rows)
    voice.left_out(failed)
    voice.finish(summary)
