"""The commands of ``privmed``."""

from __future__ import annotations

from typing import Annotated

import typer

from privmed.cli import (
    analyze,
    bench,
    covert,
    demo,
    doctor,
    hide,
    jobs,
    keygen,
    plugins,
    protect,
    recover,
    serve,
    train,
    unlock,
    verify,
    watermark,
)
from privmed.cli.extensions import Commands

app = typer.Typer(
    name="privmed",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Practical privacy for medical images: hide and analyse scans in photographs; publish data that misleads models until filtered.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from privmed import __version__

        print(f"privmed {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


for command in (
    demo,
    plugins,
    hide,
    analyze,
    recover,
    covert,
    serve,
    protect,
    watermark,
    unlock,
    verify,
    keygen,
    bench,
    jobs,
    train,
    doctor,
):
    if hasattr(command, "app"):
        app.add_typer(command.app, name=command.__name__.rpartition(".")[2])
    else:
        app.command(command.__name__.rpartition(".")[2])(command.command)
