"""``privmed bench``: suites that compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Set, Voice, bar, pick_device, settings

SUITES = ("protection",)


def control_of(name: str, own: dict) -> str:
    """The random noise of the same support."""
    if name == "umed":
        only = [
            region for region, setting in (("ROI", "contour"), ("contour", "texture")) if own.get(setting) == "none"
        ]
        return f"noise, {only[0] if only else 'ROI and contour'}"
    named = {"image": "whole image", "roi": "ROI", "contour": "contour", "both": "ROI and contour"}
    return f"noise, {named[own.get('where', 'image')]}"


def entrants(text: str) -> list[str]:
    """Split ``a,b[x=1;y=2],c`` at the commas outside brackets."""
    import re

    return re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text)


def with_own(entrant: str) -> tuple[str, dict]:
    """``b[x=1;y=2]`` as a name and settings."""
    from privmed.errors import SettingsError
    from privmed.settings import parse_assignments

    name, bracket, rest = entrant.partition("[")
    if bracket and not rest.endswith("]"):
        raise SettingsError(f"--methods {entrant}: expected NAME[setting=value;setting=value].")
    return name.strip(), parse_assignments(rest[:-1].split(";")) if rest[:-1] else {}


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
    from privmed.evaluation.pivot import to_pivot_markdown
    from privmed.evaluation.protection import CONTROLS, Contestant, Plan, run_suite
    from privmed.settings import structure

    if suite not in SUITES:
        raise SettingsError(f"no suite {suite!r}; there is {', '.join(SUITES)}.{did_you_mean(suite, SUITES)}")
    given = settings(set_)
    named = entrants(methods) if methods else [n for n in registry.available("protector") if n != "noise"]
    chosen = [(label, *with_own(label)) for label in named]
    shared = {name: given.pop(name, {}) for name in {name for _, name, _ in chosen}}
    lists = {"exploiters": exploiters.split(","), "defences": defences.split(","), "seeds": list(range(seeds))}
    plan = structure(Plan, {**lists, **given}, "bench protection")
    contestants = []
    for label, name, own in chosen:
        takes_size = "size" in {a.name for a in registry.load("protector", name).Config.__attrs_attrs__}
        config = {**({"size": plan.size} if takes_size else {}), **shared[name], **own}
        contestants.append(Contestant(label=label, method=name, settings=config, control=control_of(name, config)))
    wanted = {"unprotected", "noise, whole image", *(c.control for c in contestants)}
    contestants = [c for c in CONTROLS if c.label in wanted] + contestants
    voice = Voice(json, quiet)
    try:
        with bar(voice, "protection") as tick:
            results = run_suite(data, contestants, plan, output, device=pick_device(device), tick=tick)
    except KeyboardInterrupt as error:
        raise Interrupted(f"{output}: interrupted. The same command goes on where it stopped.") from error
    voice.say(to_pivot_markdown(results, leave_out=("the same",)))
    voice.finish({"output": str(output), "figures": len(results.figures)})
