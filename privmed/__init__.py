"""privmed: practical privacy for medical images.

Importing privmed is cheap: torch and the methods load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from privmed.errors import PrivmedError
from privmed.hooks import hookimpl

if TYPE_CHECKING:
    from privmed.interfaces import Analyzer, BareAnalyzer, FileHider, Hider, Protector, Watermarker
    from privmed.registry import analyzer, available, hider, plugins, protector, watermarker

__version__ = "0.2.0"

_LAZY = {
    **dict.fromkeys(
        ("Analyzer", "BareAnalyzer", "FileHider", "Hider", "Protector", "Watermarker"), "privmed.interfaces"
    ),
    **dict.fromkeys(("analyzer", "available", "hider", "plugins", "protector", "watermarker"), "privmed.registry"),
}

__all__ = ["PrivmedError", "__version__", "hookimpl", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'privmed' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
