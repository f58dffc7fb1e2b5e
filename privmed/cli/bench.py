"""``privmed bench``: suites that compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Set, Voice, bar, pick_device, settings

SUITES = ("protection",)


def command(
    suite: Annotated[str, typer.Argument(help=f"One of: {', '.join(SUITES)}.")],
    data: Annotated[Path, typer.Option("--data", help="Segmentation set with images/, masks/ and split.csv.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for journal, JSON and page; gone on with if it exists.")
    ],
    methods: Annotated[
        str, typer.Option(help="Protectors, with commas: umed,umed[robust=true]. All installed ones by default.")
    ] = "",
    exploiters: Annotated[str, typer.Option(help="unet, attention-unet, unet++, transunet; with commas.")] = "unet",
    defences: Annotated[
        str, typer.Option(help="none, blur, jpeg60, jpeg30, augment, adversarial; with commas.")
    ] = "none",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 3,
    set_: Set = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare methods, and write a table (JSON and HTML). Settings: size, protocol.epochs, umed.cycles, ..."""
    from privmed import registry
    from privmed.errors import Interrupted, SettingsError, did_you_mean
    from privmed.evaluation.lineup import lineup
    from privmed.evaluation.pivot import to_pivot_markdown
    from privmed.evaluation.protection import Plan, run_suite
    from privmed.settings import structure

    if suite not in SUITES:
        raise SettingsError(f"no suite {suite!r}; there is {', '.join(SUITES)}.{did_you_mean(suite, SUITES)}")
    given = settings(set_)
    names = methods or ",".join(n for n in registry.available("protector") if n != "noise")
    shared = {n: given.pop(n) for n in registry.available("protector") if n in given}
    lists = {"exploiters": exploiters.split(","), "defences": defences.split(","), "seeds": list(range(seeds))}
    plan = structure(Plan, {**lists, **given}, "bench protection")
    contestants = lineup(names, plan.size, shared)
    voice = Voice(json, quiet)
    try:
        with bar(voice, "protection") as tick:
            results = run_suite(data, contestants, plan, output, device=pick_device(device), tick=tick)
    except KeyboardInterrupt as error:
        raise Interrupted(f"{output}: interrupted. The same command goes on where it stopped.") from error
    voice.say(to_pivot_markdown(results, leave_out=("the same",)))
    voice.finish({"output": str(output), "figures": len(results.figures)})
