"""``privmed bench``: run plans, show tables, merge what machines have measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from privmed.cli.common import (
    Debug,
    Device,
    Force,
    Json,
    Quiet,
    Reporter,
    Set,
    TrustModel,
    bar,
    resumable,
    settings,
)
from privmed.cli.engines import Address, Engine, Workers, job_of

app = typer.Typer(
    help="Compare methods: run plans, show tables, merge logs.", no_args_is_help=True, add_completion=False
)
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for log, records and page; continued if it exists.")
]

AGAIN = "The same command resumes it."


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="Plan, e.g. benchmarks/protection-busi-main.yaml")],
    data: Annotated[Path, typer.Option("--data", help="Folder that holds the plan's data sets.")],
    output: Output,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this entry only; may be repeated.")] = None,
    seeds: Annotated[str, typer.Option(help="Run these seeds instead of the plan's, with commas: 0,1.")] = "",
    models: Annotated[Path | None, typer.Option(help="Folder of trained models, where a suite needs some.")] = None,
    trust_model: TrustModel = False,
    collect: Annotated[bool, typer.Option("--collect", help="Run nothing; gather what the log holds.")] = False,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run what the log lacks; write records, Markdown, page and leaderboard."""
    from privmed.bench.plan import read_plan
    from privmed.devices import pick_device

    reporter = Reporter(json, quiet)
    chosen = {
        "only": only,
        "seeds": _numbers(seeds),
        "collect": collect,
        "models": models,
        "trust": trust_model,
        "device": pick_device(device),
    }
    chosen["job"] = _job(reporter, engine, workers, address, chosen["device"])
    _run(reporter, read_plan(plan), data, output, **chosen)


def _run(reporter: Reporter, plan: Any, data: Path, output: Path, **chosen: Any) -> None:
    """Run a plan, write everything, show its first table."""
    from privmed import registry
    from privmed.bench.engine import records_beside, run_plan
    from privmed.bench.page import write_tables
    from privmed.bench.plan import save_plan
    from privmed.bench.tables import to_markdown, view_of
    from privmed.files import check_folder

    check_folder(output)
    suite = registry.load("suite", plan.suite)
    with resumable(output, AGAIN), bar(reporter, plan.name) as progress:
        finished = run_plan(plan, data, output, progress=progress, **chosen)
    records = finished.records
    path = records.save(records_beside(output, plan))
    write_tables(records, plan, suite.quantity, output, finished.pictures)
    save_plan(plan, path.with_suffix(".yaml"))
    reporter.say(to_markdown(records, plan, view_of(plan, None), suite.quantity))
    reporter.finish({"output": str(output), "records": str(path), "measurements": len(records.measurements)})


def _job(reporter: Reporter, engine: str | None, workers: str | None, address: str | None, device: str) -> Any:
    """How cells are run: the first that fails ends it."""
    options = {"engine": engine, "workers": workers, "address": address, "device": device}
    return job_of("bench", reporter, **options, strict=True)


def _numbers(text: str) -> list[int] | None:
    from privmed.errors import SettingsError

    try:
        return [int(n) for n in text.split(",")] if text else None
    except ValueError as error:
        raise SettingsError(f"--seeds {text!r}: expected whole numbers with commas, e.g. 0,1,2.") from error


@app.command()
def protection(
    data: Annotated[Path, typer.Option("--data", help="Set with masks or classes.")],
    output: Output,
    methods: Annotated[
        str, typer.Option(help="Protectors, with commas: umed,umed\\[robust=true]. All installed ones by default.")
    ] = "",
    exploiters: Annotated[str, typer.Option(help="Names with commas; see privmed bench list.")] = "unet",
    defences: Annotated[
        str, typer.Option(help="Names with commas, settings in brackets; see privmed bench list.")
    ] = "none",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How many seeds.")] = 3,
    set_: Set = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Short form of a protection plan. Settings: size, protocol.epochs, umed.cycles, ..."""
    from privmed import registry
    from privmed.bench.plan import Plan, View
    from privmed.bench.shorthand import protectors
    from privmed.devices import pick_device

    given = settings(set_)
    names = methods or ",".join(n for n in registry.available("protector") if n != "noise")
    shared = {n: given.pop(n) for n in registry.available("protector") if n in given}
    plan = Plan(
        suite="protection",
        name="protection",
        title=f"Unlearnable data sets, {data.name}",
        data=[data.resolve().name],
        entries=protectors(names, shared),
        grid={"exploiter": exploiters.split(","), "defence": defences.split(",")},
        seeds=list(range(seeds)),
        settings=given,
        margins=["dice", "accuracy"],
        views={"main": View(across=["metric", "exploiter", "defence"], where={"metric": ["dice", "accuracy", "psnr", "ssim", "margin"]},
                            without={"epoch": "best"})},
    )  # fmt: skip
    reporter, chosen = Reporter(json, quiet), pick_device(device)
    job = _job(reporter, engine, workers, address, chosen)
    _run(reporter, plan, data.resolve().parent, output, device=chosen, job=job)


@app.command()
def watermark(
    data: Annotated[Path, typer.Option("--data", help="Folder with one sub-folder per class; test images are marked.")],
    model: Annotated[
        list[Path], typer.Option("--model", help="Model to mislead, and to see transfer on; may be repeated.")
    ],
    output: Output,
    methods: Annotated[
        str, typer.Option(help="Watermarkers, with commas: medlocker,medlocker\\[search=cma].")
    ] = "medlocker",
    ensemble: Annotated[str, typer.Option(help="Models that are also a source together, by name; with commas.")] = "",
    where: Annotated[
        str, typer.Option(help="anywhere, outside, inside (the lesions of --masks); with commas.")
    ] = "anywhere",
    masks: Annotated[
        Path | None, typer.Option(help="Segmentation set whose masks belong to images of the same name.")
    ] = None,
    logo: Annotated[Path | None, typer.Option(help="Picture of the mark; a shield by default.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many images, spread over the set.")] = 0,
    trust_model: TrustModel = False,
    set_: Set = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Short form of a watermark plan. Settings: size, together, medlocker.population, ..."""
    from privmed import registry
    from privmed.bench.plan import Entry, Plan, View
    from privmed.bench.shorthand import entries
    from privmed.devices import pick_device
    from privmed.errors import SettingsError

    given = settings(set_)
    shared = {n: given.pop(n) for n in registry.available("watermarker") if n in given}
    names = [path.stem for path in model]
    if len(set(names)) < len(names):
        raise SettingsError("bench watermark: two models have the same name. Rename one of the files.")
    given |= {"models": {path.stem: str(path.resolve()) for path in model}, "limit": limit}
    given |= {"ensemble": [n for n in ensemble.split(",") if n], "logo": str(logo.resolve()) if logo else ""}
    given |= {"masks": str(masks.resolve()) if masks else ""}
    view = {"head": "source", "down": ["source"], "across": ["metric", "method", "where"]}
    plan = Plan(
        suite="watermark",
        name="watermark",
        title=f"Adversarial watermarks, {data.name}",
        data=[data.resolve().name],
        entries=[Entry(label="unmarked"), *entries("watermarker", methods, shared)],
        grid={"where": where.split(",")},
        settings=given,
        views={"main": View(**view, where={"class": "", "target": ""})},
    )
    reporter, chosen = Reporter(json, quiet), pick_device(device)
    job = _job(reporter, engine, workers, address, chosen)
    _run(reporter, plan, data.resolve().parent, output, device=chosen, job=job, trust=trust_model)


@app.command()
def table(
    records: Annotated[Path, typer.Argument(help="Record file, or the output folder of bench run.")],
    view: Annotated[str, typer.Option(help="View of the plan; its first one by default.")] = "",
    plan: Annotated[
        Path | None, typer.Option(help="Plan; by default the .yaml of that name beside the records or one folder up.")
    ] = None,
    into: Annotated[
        list[Path] | None, typer.Option("--into", help="Fill the tables of this document; may be repeated.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write the HTML page here.")] = None,
    check: Annotated[bool, typer.Option("--check", help="With --into: only say what is out of date.")] = False,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show records as a table; --json gives the leaderboard. With --into, fill documents between their marks."""
    from privmed.bench.documents import fill_file
    from privmed.bench.published import load_published
    from privmed.bench.tables import leaderboard, to_markdown, view_of

    reporter = Reporter(json, quiet)
    stale: list[str] = []
    shown = [load_published(path, plan) for path in _record_files(records)]
    for document in into or []:
        if fill_file(document, shown, check=check):
            stale.append(str(document))
    for one in shown:
        if page is not None:
            _write_page(one, page if len(shown) == 1 else page / f"{one.plan.name}.html", force)
        if into is None and page is None:
            reporter.say(to_markdown(one.records, one.plan, view_of(one.plan, view or None), one.describe))
    if into is not None:
        reporter.say(f"{'out of date' if check else 'filled'}: {', '.join(stale)}" if stale else "nothing to change")
    boards = [leaderboard(one.records, one.plan, one.describe) for one in shown] if json else []
    reporter.finish({"tables": boards, "changed": stale})
    if check and stale:
        raise typer.Exit(1)


def _record_files(path: Path) -> list[Path]:
    """Record files that a path stands for; a run log is none."""
    from privmed.bench.engine import LOG
    from privmed.errors import InputError

    found = [path] if not path.is_dir() else sorted(p for p in path.glob("*.jsonl") if p.name != LOG)
    if not found:
        raise InputError(f"{path}: holds no records. privmed bench run writes them.")
    return found


def _write_page(one: Any, path: Path, force: bool) -> None:
    from privmed.bench.page import to_html
    from privmed.files import whole_file

    with whole_file(path, overwrite=force) as temporary:
        temporary.write_text(to_html(one.records, one.plan, one.describe), encoding="utf-8")


@app.command("list")
def listing(
    plan: Annotated[Path | None, typer.Argument(help="Plan whose entries, grid and views are shown.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List what comparisons can be made of: suites, exploiters, defences, metrics, readers; or what a plan holds."""
    from privmed import registry
    from privmed.bench.plan import read_plan

    reporter = Reporter(json, quiet)
    if plan is not None:
        read = read_plan(plan)
        about = {
            "entries": [e.label for e in read.entries],
            "data": read.data,
            **read.grid,
            "seeds": read.seeds,
            "views": list(read.views),
        }
    else:
        about = {kind: [p.name for p in registry.plugins(kind) if p.status != "broken"] for kind in registry.PARTS}
        for row in (r for kind in registry.PARTS for r in registry.plugins(kind) if r.status == "broken"):
            reporter.say(f"! {row.reason}")
    reporter.table("", [(name, "; ".join(map(str, some))) for name, some in about.items()])
    reporter.finish(about)


@app.command()
def unpack(
    data: Annotated[Path, typer.Argument(help="Data set, e.g. breastmnist_128.npz, or a folder of NIfTI volumes.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder that is made.")],
    reader: Annotated[str, typer.Option(help="Who reads it; by default the first that recognises it.")] = "",
    classes: Annotated[
        int,
        typer.Option(
            help="Also write maps of so many classes, the background among them, into masks-multi/.", min=0, max=255
        ),
    ] = 0,
    set: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a data set of any reader as a folder of PNGs, with its masks or classes and its split, for all other commands."""
    from attrs import asdict

    from privmed.bench.readers import read_dataset
    from privmed.bench.unpacking import unpack as unpacked

    reporter = Reporter(json, quiet)
    dataset = read_dataset(data, reader, settings(set))
    with bar(reporter, "unpacking") as tick:
        made = unpacked(dataset, output, lambda done, total: tick(done, total, data.name), classes=classes)
    truth = "with masks" if made.masks else f"of {len(made.classes)} classes" if made.classes else "without a truth"
    reporter.say(f"{output}: {made.images} images {truth}, {made.train} for training and {made.test} for testing.")
    if made.small:
        reporter.say(
            f"! {made.small} of them have a side below 32 pixels: privmed train scales them, other commands refuse them."
        )
    reporter.finish({"output": str(output), **asdict(made)})


@app.command()
def merge(
    first: Annotated[Path, typer.Argument(help="Run log or record file; where the two disagree, it stays.")],
    second: Annotated[Path, typer.Argument(help="Another one of the same kind.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The merged file.")],
    newer: Annotated[
        bool, typer.Option("--newer", help="Records of the second replace those of the first, whole cells.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(help="Of two record files: make averages, worst cases and margins again as this plan wants them."),
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Merge two run logs or two record files; exit code 1 where they disagree about the same figure."""
    from attrs import asdict

    from privmed.bench.merging import merge_files
    from privmed.bench.plan import read_plan

    reporter = Reporter(json, quiet)
    wanted = None if plan is None else read_plan(plan)
    merged = merge_files(first, second, output, newer=newer, plan=wanted, force=force)
    for one in merged.conflicts:
        reporter.say(f"they disagree: {one}")
    if merged.left_out:
        reporter.say(f"left out, since the plan has no such entry: {'; '.join(merged.left_out)}")
    reporter.say(f"{output}: {merged.count} in all")
    reporter.finish({"output": str(output), **asdict(merged)})
    if merged.conflicts:
        raise typer.Exit(1)
