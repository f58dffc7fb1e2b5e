"""The hook a plugin implements. Kept apart from everything heavy: importing it costs a few milliseconds."""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

API_VERSION = 1
"""Version of the contract between core and plugins; a plugin module may pin it with ``privmed_api = 1``."""

METHODS = {
    "hider": "privmed.hiders",
    "analyzer": "privmed.analyzers",
    "protector": "privmed.protectors",
    "watermarker": "privmed.watermarkers",
}
PARTS = {
    "exploiter": "privmed.exploiters",
    "defence": "privmed.defences",
    "detector": "privmed.detectors",
    "metric": "privmed.metrics",
    "reader": "privmed.readers",
    "suite": "privmed.suites",
}
"""What takes part in comparisons besides methods; see :mod:`privmed.bench.contracts`."""
COMMANDS = {"command": "privmed.commands"}
GROUPS = {**METHODS, **PARTS, **COMMANDS}
"""Kinds of what a plugin brings, and the group of entry points of each."""

hookspec = pluggy.HookspecMarker("privmed")
hookimpl = pluggy.HookimplMarker("privmed")


class Register(Protocol):
    """What a plugin hands its classes and commands to.

    Example:
        >>> from privmed import hookimpl
        >>> @hookimpl
        ... def privmed_register(register):
        ...     register.command("greet", lambda name="you": print(f"hello {name}"))  # privmed greet --name Ada
    """

    def __call__(self, cls: type) -> None:
        """Take in a class."""

    def command(self, name: str, target: Any) -> None:
        """Take in a command, ``privmed NAME``: a function whose parameters typer understands, or a ``typer.Typer`` with sub-commands."""


@hookspec
def privmed_register(register: Register) -> None:
    """Call ``register(cls)`` once for each class of this module, and ``register.command(name, function)`` for each command.

    A class is a method (:class:`privmed.Hider`, ``Analyzer``, ``Protector``, ``Watermarker``) or takes part in comparisons: an
    ``Exploiter``, ``Defence``, ``Detector``, ``Metric``, ``Reader`` or ``Suite`` of :mod:`privmed.bench.contracts`. The group of the
    entry point says which kind it is asked for: ``privmed.hiders``, ``privmed.exploiters``, ``privmed.commands``, and so on.

    Example:
        >>> from privmed import Hider, hookimpl
        >>> class Mine(Hider):
        ...     name = "mine"
        >>> @hookimpl
        ... def privmed_register(register):
        ...     register(Mine)
    """
