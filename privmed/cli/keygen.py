"""``privmed keygen``: a key pair for somebody who may lift marks, or a key that sender and receiver of hidden files share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privmed.cli.common import Debug, Json, Quiet, Reporter


def command(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="The key; of a pair the private one, and the public one gets .pub behind its name."
        ),
    ],
    shared: Annotated[
        bool, typer.Option("--shared", help="One key for sender and receiver (hide --key), instead of a pair.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a key pair: send the .pub file to who publishes, keep the other one. Or make a shared key."""
    from privmed.locks import make_identity
    from privmed.shared_key import make_shared_key

    reporter = Reporter(json, quiet)
    if shared:
        path = make_shared_key(output)
        reporter.table("shared key", [("for you and the receiver alone", str(path))])
        reporter.finish({"shared": str(path)})
        return
    private, public = make_identity(output)
    reporter.table("key pair", [("private, keep it", str(private)), ("public, send it", str(public))])
    reporter.finish({"private": str(private), "public": str(public)})
