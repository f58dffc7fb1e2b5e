"""Commands that plugins bring: listed by what their distributions say of themselves, imported when they are run."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

HEADING = "Commands of plugins"


class Listed(TyperCommand):
    """A command whose name is known, and whose module is not imported."""


class Commands(TyperGroup):
    """The core's commands, and those of plugins under a heading of their own."""

    def list_commands(self, ctx: Any) -> list[str]:
        usable = (name for name, row in _rows().items() if row.status != "broken")
        return [*super().list_commands(ctx), *usable]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in (rows := _rows()):
            return own
        return Listed(cmd_name, help=_about(rows[cmd_name]), rich_help_panel=HEADING)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _imported(command.name) if isinstance(command, Listed) else command, rest


def _rows() -> dict[str, Any]:
    from privmed import registry

    return {row.name: row for row in registry.plugins("command")}


def _about(row: Any) -> str:
    """A line of help without an import: what the distribution says of itself."""
    from rich.markup import escape

    try:
        summary = metadata(row.distribution).get("Summary", "")
    except PackageNotFoundError:
        summary = ""
    return escape(f"{summary} ({row.origin})" if summary else f"From {row.origin}.")


def as_app(name: str, target: Any) -> typer.Typer:
    """What a plugin registered, as an app."""
    if isinstance(target, typer.Typer):
        return target
    app = typer.Typer(add_completion=False)
    app.command(name)(target)
    return app


def _imported(name: str) -> Any:
    """The command itself.

    Raises:
        PluginError: when its plugin is broken.
    """
    from privmed import registry

    return typer.main.get_command(as_app(name, registry.load("command", name).target))
