"""The hook a plugin implements. Kept apart from everything heavy: importing it costs a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

API_VERSION = 1
"""Version of the contract between core and plugins; a plugin module may pin it with ``privmed_api = 1``."""

hookspec = pluggy.HookspecMarker("privmed")
hookimpl = pluggy.HookimplMarker("privmed")


@hookspec
def privmed_register(register: Callable[[type], None]) -> None:
    """Call ``register(MethodClass)`` once for each method of this module."""
