"""``privmed keygen``: a key pair for somebody who may lift marks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Voice


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Private key; the public one gets .pub behind its name.")
    ],
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a key pair. Send the .pub file to who publishes, keep the other one."""
    from privmed.locks import make_identity

    voice = Voice(json, quiet)
    private, public = make_identity(output)
    voice.table("key pair", [("private, keep it", str(private)), ("public, send it", str(public))])
    voice.finish({"private": str(private), "public": str(public)})
