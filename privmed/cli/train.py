"""``privmed train``: a recipe in, weights with a model card out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Device, Json, Quiet, Set, Voice


def command(
    recipe: Annotated[Path, typer.Argument(help="A YAML file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for checkpoint, metrics and weights.")
    ] = None,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a method as a recipe says."""
    from privmed.errors import Interrupted
    from privmed.training import run

    try:
        result = run(recipe, overrides=set_ or [], out=output, resume=resume, device=device, seed=seed, quiet=quiet)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"{recipe}: interrupted. Go on from the last checkpoint with --resume, if there is one yet; without one, start again."
        ) from error
    voice = Voice(json, quiet)
    voice.table(
        result["out"], [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in result.items() if k != "out"]
    )
    voice.finish(result)
