"""``privmed train``: a recipe in, weights with a model card out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import LARGEST_SEED, Debug, Device, Json, Quiet, Reporter, Set, resumable


def command(
    recipe: Annotated[Path, typer.Argument(help="A YAML file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for checkpoint, metrics and weights.")
    ] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Instead of the recipe's.")] = None,
    device: Device = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="How many train together, each a part of every batch (lightning-fabric).")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Machines that do; torchrun or Slurm starts the command on each.")
    ] = 1,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a method as a recipe says."""
    how = "Go on from the last checkpoint with --resume, if there is one yet; without one, start again."
    with resumable(recipe, how):
        from privmed.training import run
        from privmed.training.team import speaks

        how_many = {"devices": devices, "nodes": nodes}
        result = run(
            recipe, overrides=set_ or [], out=output, resume=resume, device=device, seed=seed, quiet=quiet, **how_many
        )
    if not speaks(devices, nodes):
        return
    reporter = Reporter(json, quiet)
    reporter.table(
        result["out"], [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in result.items() if k != "out"]
    )
    reporter.finish(result)
