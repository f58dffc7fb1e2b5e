"""``privmed bench``: suites that compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Set, TrustModel, Voice, bar, resumable, settings

app = typer.Typer(help="Compare methods, and write tables (JSON and HTML).", no_args_is_help=True, add_completion=False)
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for journal, JSON and page; gone on with if it exists.")
]

AGAIN = "The same command goes on where it stopped."


@app.command()
def protection(
    data: Annotated[Path, typer.Option("--data", help="Segmentation set with images/, masks/ and split.csv.")],
    output: Output,
    methods: Annotated[
        str, typer.Option(help="Protectors, with commas: umed,umed[robust=true]. All installed ones by default.")
    ] = "",
    exploiters: Annotated[str, typer.Option(help="unet, attention-unet, unet++, transunet; with commas.")] = "unet",
    defences: Annotated[
        str, typer.Option(help="none, blur, jpeg60, jpeg30, augment, adversarial; with commas.")
    ] = "none",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How many seeds.")] = 3,
    set_: Set = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What strangers' models learn from protected sets, beside random noise. Settings: size, protocol.epochs, umed.cycles, ..."""
    from privmed import registry
    from privmed.devices import pick_device
    from privmed.evaluation.lineup import lineup
    from privmed.evaluation.pivot import to_pivot_markdown
    from privmed.evaluation.protection import DETAILS, Plan, run_suite
    from privmed.files import check_folder
    from privmed.settings import structure

    check_folder(output)
    given = settings(set_)
    names = methods or ",".join(n for n in registry.available("protector") if n != "noise")
    shared = {n: given.pop(n) for n in registry.available("protector") if n in given}
    lists = {"exploiters": exploiters.split(","), "defences": defences.split(","), "seeds": list(range(seeds))}
    plan = structure(Plan, {**lists, **given}, "bench protection")
    contestants = lineup(names, plan.size, shared)
    voice = Voice(json, quiet)
    place = pick_device(device)
    with resumable(output, AGAIN), bar(voice, "protection") as tick:
        results = run_suite(data, contestants, plan, output, device=place, tick=tick)
    voice.say(to_pivot_markdown(results, leave_out=DETAILS))
    voice.finish({"output": str(output), "figures": len(results.figures)})


@app.command()
def watermark(
    data: Annotated[Path, typer.Option("--data", help="Folder with one sub-folder per class; test images are marked.")],
    model: Annotated[
        list[Path], typer.Option("--model", help="Model to mislead, and to see transfer on; may be repeated.")
    ],
    output: Output,
    trust_model: TrustModel = False,
    methods: Annotated[
        str, typer.Option(help="Watermarkers, with commas: medlocker,medlocker[search=cma].")
    ] = "medlocker",
    ensemble: Annotated[str, typer.Option(help="Models that are also a source together, by name; with commas.")] = "",
    where: Annotated[
        str, typer.Option(help="anywhere, outside, inside (the lesions of --masks); with commas.")
    ] = "anywhere",
    masks: Annotated[
        Path | None, typer.Option(help="Folder of lesion masks that have the names of the images.")
    ] = None,
    logo: Annotated[Path | None, typer.Option(help="Picture of the mark; a shield by default.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many images, spread over the set.")] = 0,
    set_: Set = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How often marks mislead the models they were made against, and others. Settings: size, together, medlocker.population, ..."""
    from privmed import registry
    from privmed.data.folders import ImageFolder
    from privmed.devices import pick_device
    from privmed.evaluation import watermark_suite as suite
    from privmed.evaluation.pivot import to_pivot_markdown
    from privmed.files import check_folder
    from privmed.imaging.logo import draw_logo, read_logo
    from privmed.settings import structure

    check_folder(output)
    given = settings(set_)
    shared = {n: given.pop(n) for n in registry.available("watermarker") if n in given}
    lists = {"ensemble": [n for n in ensemble.split(",") if n], "where": where.split(","), "limit": limit}
    plan = structure(suite.WatermarkPlan, {**lists, **given}, "bench watermark")
    attacks = suite.attacks_of(methods, shared)
    folder = ImageFolder(data)
    found = None if masks is None else suite.masks_beside(folder, masks)
    mark = draw_logo() if logo is None else read_logo(logo)
    panel = suite.Panel(folder, suite.by_name(model), plan, found, pick_device(device), trust_model)
    voice = Voice(json, quiet)
    with resumable(output, AGAIN), bar(voice, "watermark") as tick:
        results, lines = suite.run_suite(panel, attacks, mark, output, tick=tick)
    suite.save(results, panel, lines, mark, output / "watermark.json")
    voice.say(to_pivot_markdown(results, leave_out=suite.DETAILS, head="source"))
    voice.finish({"output": str(output), "figures": len(results.figures)})
