"""``privmed protect``: makes of a data set one that misleads models trained on it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import (
    LARGEST_SEED,
    Debug,
    Device,
    Force,
    Json,
    Quiet,
    Reporter,
    Set,
    bar,
    check_outputs,
    check_split,
    make,
    resumable,
    settings,
)
from privmed.cli.engines import Address, Batch, DryRun, Engine, MaxFailures, Part, RetryFailed, Workers, job_of, preview
from privmed.cli.folders import refuse_force
from privmed.cli.studies import CopyRest, Deidentify, Secret, Studies, changed, check_kept_apart, tell


def command(
    dataset: Annotated[Path, typer.Argument(help="Folder: images/ and masks/, or one sub-folder per class.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the protected data set.")],
    protector: Annotated[str, typer.Option(help="Method.")] = "tint",
    epsilon: Annotated[
        str | None,
        typer.Option(
            help="Largest change of a pixel: 4/255, or 0.0157. By default 4/255, or what --load was fitted with."
        ),
    ] = None,
    load: Annotated[
        str | None, typer.Option("--load", help="A fitted protector (.safetensors) instead of a fit.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the fitted protector (.safetensors).")] = None,
    fit_only: Annotated[
        bool, typer.Option("--fit-only", help="Fit and --save the protector, and write no images; for shards.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Only this part of the set: train or test.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")] = False,
    judge: Annotated[
        str | None,
        typer.Option(
            help="quick: train small models on what was published, for some minutes, and say what they learn."
        ),
    ] = None,
    copy_rest: CopyRest = False,
    deidentify: Deidentify = False,
    secret: Secret = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder an interrupted run left.")] = False,
    force: Force = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=LARGEST_SEED, help="Where all randomness comes from. By default 0, or that of --load."),
    ] = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    shard: Part = None,
    max_failures: MaxFailures = None,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    batch: Batch = 1,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Publish images that doctors can read and that mislead models trained on them, until they are filtered."""
    from privmed.data.judge import check_defences
    from privmed.data.marking import SecretMark
    from privmed.data.protect import FITTED, Protecting, classes_of, fit_in, pairs_of
    from privmed.data.release import Release, check_apart
    from privmed.data.studies import StudyFolder
    from privmed.devices import pick_device
    from privmed.errors import InputError, SettingsError
    from privmed.settings import unstructure

    reporter, resume = Reporter(json, quiet), resume or retry_failed
    job = job_of(
        "protect",
        reporter,
        engine=engine,
        workers=workers,
        address=address,
        device=pick_device(device),
        shard=shard,
        max_failures=max_failures,
        strict=strict,
        retry_failed=retry_failed,
        batch=batch,
        about={"split": split},
    )
    source = StudyFolder(dataset, lenient=True)
    for path in (output, save):
        if path is not None:
            check_apart(source, path)
    check_split(reporter, source, split)
    check_kept_apart(source, copy_rest, secret, Path(load) if load is not None else None)
    studies = Studies(source, job, copy_rest, deidentify, secret)
    items, classes = source.items(split), classes_of(source)
    if job.shard and judge is not None:
        raise SettingsError(f"--judge {judge}: a shard is too little to judge. Leave it out.")
    check_judge(judge, source, split, items)
    given = {"epsilon": epsilon, "seed": seed}
    chosen = {name: value for name, value in given.items() if value is not None} | settings(set_)
    method = make(
        "protector", protector, load, device, **with_classes(protector, chosen, classes if load is None else [])
    )
    check_task(protector, method, dataset, classes)
    if judge is not None:
        check_defences(method.undone_by, protector)
    if fit_only and (save is None or not method.learns):
        raise SettingsError(
            f"--fit-only: {'give --save FILE' if method.learns else f'{protector} has nothing to fit'}."
        )
    if save is not None:
        check_save(save, output, method, force, resume)
    else:
        refuse_force(force)
    if classes and load is not None:  # numbers mean what they meant in the fit, whatever lies in this folder
        classes = (method.card or {}).get("classes", classes)
    more = {"classes": classes, "note": method.note}
    identity = studies.drawn(output, resume, getattr(method.config, "seed", 0))
    about = {"protector": protector, "config": unstructure(method.config), **{k: v for k, v in more.items() if v}}
    about |= studies.about
    check_shard(job, method, load)
    unread: list[tuple[str, str]] = []

    def skip(item, error) -> None:
        if strict:
            raise error
        unread.append((release.name(item), str(error)))
        job.unusable.add(unread[-1][0])

    mark_of = SecretMark(identity.secret) if deidentify else None  # who has an original cannot tell its copy
    release = Release(source, output, about, resume=resume, job=job, mark_of=mark_of, identities=True)
    items = job.part(items, [*map(release.name, items), *studies.ids()])
    if dry_run:
        reporter.unlisted(source)
        return preview(reporter, job, output, *release.preview(items))
    with release, resumable(output):
        reporter.unlisted(source)
        try:
            if load is None and method.learns and (save is not None or not all(release.is_done(i) for i in items)):
                with bar(reporter, f"fitting {protector}") as tick:
                    fit_in(
                        release.work.folder(),
                        method,
                        pairs_of(items, classes, skip),
                        lambda stage, n, total, _: tick(n, total, stage),
                    )
        except InputError as error:
            if items and len(unread) == len(items):
                raise InputError(
                    f"none of the {len(items)} images can be used; the first is {unread[0][0]}: {unread[0][1]}"
                ) from error
            raise
        if save is not None:
            from privmed import weights

            weights.save(method, save, **({"classes": classes} if classes else {}))
        if fit_only:
            (release.work.path / FITTED).unlink(missing_ok=True)
            reporter.say(f"{save}: the fitted protector. Give it to every shard with --load.")
            reporter.left_out(unread)
            return reporter.finish({"saved": str(save), "failed": [{"file": n, "reason": why} for n, why in unread]})
        bad = {name for name, _ in unread}
        good = [i for i in items if release.name(i) not in bad]
        studies.keep(release)
        with bar(reporter, "writing") as tick:
            outcome = release.run(good, Protecting(method, classes, identity), tick)
        carried, fitted = studies.carry(release, items, unread + outcome.failed, reporter), release.work.path / FITTED
        failed = carried.failed
        judged = verdict_of(release)
        release.finish(items, failed, judged=judged)
        if judge is not None and isinstance(judged, str):
            with bar(reporter, "judging") as tick:
                judged = judge_release(release, method.undone_by, source, split, items, classes, device, tick)
            release.finish(items, failed, judged=judged)
        if not failed:  # what is mended later has to be protected by the same fit
            fitted.unlink(missing_ok=True)
        elif fitted.is_file():
            reporter.say(f"The fit is kept in {fitted} for --resume. Delete it if nothing is to be mended.")
        studies.forget(release, failed, reporter)
    report(reporter, release, carried, outcome, judged)
    if failed:
        raise typer.Exit(1)


def check_task(name: str, method, dataset: Path, classes: list[str]) -> None:
    """Say before any work that a protector is for masks and the data set has classes, or the other way round."""
    from privmed import registry
    from privmed.errors import PluginError, SettingsError

    task = "classification" if classes else "segmentation"
    if task in method.tasks:
        return
    if task in type(method).tasks:
        raise SettingsError(
            f"{dataset}: has {_truth(classes)}, and {name}, as it is set, keeps to regions of masks. Leave out --set where=..."
        )
    others = []
    for other in registry.available("protector"):
        with suppress(PluginError):
            others += [other] if other != name and task in registry.load("protector", other).tasks else []
    raise SettingsError(
        f"{dataset}: has {_truth(classes)}, which {name} does not protect. "
        f"Choose another --protector: {', '.join(others) or 'none is installed'}."
    )


def _truth(classes: list[str]) -> str:
    return "classes in place of masks" if classes else "masks and no classes"


def check_save(save: Path, output: Path, method, force: bool, resume: bool) -> None:
    """Say before any work that a fitted protector cannot be kept there; the one of the run that is gone on with may be replaced."""
    from privmed import weights
    from privmed.errors import OutputError, WeightsError
    from privmed.settings import unstructure

    if save.suffix != ".safetensors":
        raise OutputError(f"{save}: is written as safetensors; give it a name that ends in .safetensors.")
    if output.resolve() in save.resolve().parents:
        raise OutputError(f"{save}: lies in {output}, which is published. Keep the fitted protector somewhere else.")
    if resume and save.is_file():
        with suppress(WeightsError):
            force = force or weights.read_card(save, type(method))["config"] == unstructure(method.config)
    check_outputs([save, weights.card_path(save)], force)


def check_shard(job, method, load: str | None) -> None:
    """Say before any work what cannot be done by a part of a job."""
    from privmed.errors import SettingsError

    if job.shard and method.learns and load is None:
        raise SettingsError(
            f"--shard: {method.name} learns from all images, so fit it once (--fit-only --save F) and give --load F to every shard."
        )


def check_judge(judge: str | None, source, split: str | None, items: list) -> None:
    """Say before any work that there is no such judgement, or too few images for it."""
    from privmed.data.judge import sides_of
    from privmed.errors import SettingsError

    if judge not in (None, "quick"):
        raise SettingsError(f"--judge {judge}: expected quick. For more, see privmed bench protection.")
    if judge is not None:
        sides_of(*parts_of(source, split, items))


def parts_of(source, split: str | None, items: list) -> tuple[list, list]:
    """What exploiters may train on, and the test part of the set, if it has one that can be told from it."""
    from privmed.errors import InputError

    tests: list = []
    if source.has_split and split in (None, "train"):
        with suppress(InputError):  # it has no test part
            tests = source.items("test")
    apart = {item.image for item in tests}
    return [item for item in items if item.image not in apart], tests


def judge_release(
    release, undone_by: tuple[str, ...], source, split: str | None, items: list, classes: list[str], device: str, tick
) -> dict:
    """Train small exploiters on what was published."""
    from privmed.data.judge import judge, sides_of
    from privmed.devices import pick_device

    train, tests = parts_of(source, split, items)
    train = [item for item in train if release.is_done(item)]
    return judge(
        sides_of(train, tests),
        release.target,
        classes,
        undone_by=undone_by,
        folder=release.work.folder(),
        device=pick_device(device),
        report=lambda stage, n, total, _: tick(n, total, stage),
    )


def verdict_of(release):
    """The judgement of an earlier run, where nothing was written since; else that there is none."""
    from privmed.data.judge import UNJUDGED

    known = [line.get("judged") for line in release.lines.values()]
    same = known and all(one == known[0] for one in known)  # what was written since has none
    return known[0] if same and isinstance(known[0], dict) else UNJUDGED


def with_classes(protector: str, chosen: dict, classes: list[str]) -> dict:
    """Tell methods that want to know it how many classes the data set has."""
    from privmed import registry
    from privmed.settings import describe

    known = {row["name"] for row in describe(registry.load("protector", protector).Config)}
    counted = classes and "classes" in known and "classes" not in chosen
    return {**chosen, "classes": len(classes)} if counted else chosen


def report(reporter: Reporter, release, carried, outcome, judged) -> None:
    """Say what was done, and what could not be."""
    from statistics import fmean

    from privmed.data.judge import sentences

    lines = changed(release)
    summary = {
        "output": str(release.out),
        "images": len(lines),
        "psnr": fmean(line["psnr"] for line in lines) if lines else None,
        "ssim": fmean(line["ssim"] for line in lines) if lines else None,
        "largest_change": max((line["largest_change"] for line in lines), default=None),
        "note": release.about.get("note", ""),
        "judged": judged,
        "failed": [{"file": name, "reason": why} for name, why in carried.failed],
    }
    rows = [("images", str(len(lines)) + (f" ({outcome.kept} from before)" if outcome.kept else ""))]
    if lines:
        rows += [("PSNR", f"{summary['psnr']:.2f} dB"), ("SSIM", f"{summary['ssim']:.4f}")]
        rows += [("largest change", f"{summary['largest_change'] * 255:.2f} / 255")]
    rows += sentences(judged) if isinstance(judged, dict) else [("judged", judged)]
    reporter.table(f"protected data set in {release.out}" if lines else f"{release.out}: nothing was published", rows)
    if summary["note"]:
        reporter.say(summary["note"])
    reporter.left_out(carried.failed)
    reporter.finish(summary | tell(reporter, release, carried.left))
