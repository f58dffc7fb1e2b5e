"""Where commands take passphrases and keys from; never from the command line itself, which others can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

LONGEST = 4096  # characters of a passphrase
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="First line is the passphrase; else PRIVMED_PASSPHRASE, or a prompt."),
]
Recipients = Annotated[
    list[Path] | None,
    typer.Option("--recipient", help="Public key (.pub) of somebody who may lift the marks; may be repeated."),
]
Identities = Annotated[
    list[Path] | None, typer.Option("--identity", help="Your private key, made with privmed keygen; may be repeated.")
]


def passphrase(file: Path | None, *, twice: bool, ways: str = "--passphrase-file, --recipient or --identity") -> str:
    """The passphrase from a file, from PRIVMED_PASSPHRASE, or from a prompt; ``ways`` are the options that a command has instead.

    Raises:
        KeyFileError: when there is none.
    """
    from privmed.errors import KeyFileError

    if file is not None:
        try:
            with file.open(encoding="utf-8") as opened:  # also of a pipe, as shells make them
                words = opened.readline(LONGEST).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"{file}: cannot be read as a passphrase.") from error
        found = words[0] if words else ""
    elif "PRIVMED_PASSPHRASE" in os.environ:
        found = os.environ["PRIVMED_PASSPHRASE"]
    elif sys.stdin.isatty():
        found = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    else:
        raise KeyFileError(f"no passphrase: set PRIVMED_PASSPHRASE, or give {ways}.")
    if not found:
        raise KeyFileError("the passphrase is empty.")
    return found


def locks_from(file: Path | None, recipients: list[Path] | None, reporter) -> list:
    """Who may open a key that is written: recipients, and whoever knows the passphrase, if one is given or nobody else is named."""
    from privmed.locks import Passphrase, Recipient

    locks: list = [Recipient.read(path) for path in recipients or []]
    if file is not None or "PRIVMED_PASSPHRASE" in os.environ or not locks:
        locks.append(Passphrase(passphrase(file, twice=True)))
    return locks


def openers_from(file: Path | None, identities: list[Path] | None, reporter) -> list:
    """What a key is opened with."""
    from privmed.locks import Identity, Passphrase

    openers: list = [Identity.read(path) for path in identities or []]
    if file is not None or "PRIVMED_PASSPHRASE" in os.environ or not openers:
        openers.append(Passphrase(passphrase(file, twice=False, ways="--passphrase-file or --identity")))
    return openers
