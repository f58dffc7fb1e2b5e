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
    """Call ``register(cls)`` once for each class of this module.

    A class is a method (:class:`privmed.Hider`, ``Analyzer``, ``Protector``, ``Watermarker``) or takes part in comparisons: an
    ``Exploiter``, ``Defence``, ``Metric``, ``Reader`` or ``Suite`` of :mod:`privmed.bench.contracts`. The group of the entry point
    says which kind it is asked for: ``privmed.hiders``, ``privmed.exploiters``, ``privmed.readers``, and so on.
    """
