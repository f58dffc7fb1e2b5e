"""Checks of commands."""

from __future__ import annotations

import inspect

import typer
from typer.testing import CliRunner

from privmed.cli.extensions import as_app
from privmed.plugin_contract import Command


def check_command_has_help(command: Command) -> None:
    """The command says what it does: --help works, and there is more to show than options."""
    done = CliRunner().invoke(as_app(command.name, command.target), ["--help"])
    assert done.exit_code == 0, done.output
    app = command.target if isinstance(command.target, typer.Typer) else None
    about = app.info.help if app else inspect.getdoc(command.target)
    assert isinstance(about, str), "it has no docstring, or its app no help"
