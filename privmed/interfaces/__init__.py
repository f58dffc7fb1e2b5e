"""The contracts of privmed, one a kind (a second one of hiders, for files, and of analyzers, for bare images): what a method must do.

The public methods are final. They check and normalise their input once and call the plugin's private method, which may trust
what it gets: float32 on the method's device, finite, the documented range and shape, sides padded to ``multiple``.
"""

from privmed.interfaces.analyzer import Analyzer
from privmed.interfaces.bare_analyzer import BareAnalyzer
from privmed.interfaces.base import Method
from privmed.interfaces.file_hider import FileHider
from privmed.interfaces.hider import Hider
from privmed.interfaces.protector import Protector
from privmed.interfaces.watermarker import Embedded, Watermarker

KINDS: dict[str, type[Method]] = {c.kind: c for c in (Hider, Analyzer, Protector, Watermarker)}
OTHERS: dict[str, tuple[type[Method], ...]] = {"hider": (FileHider,), "analyzer": (BareAnalyzer,)}
"""Further contracts that a method of a kind may keep in place of the usual one."""

__all__ = [
    "KINDS",
    "OTHERS",
    "Analyzer",
    "BareAnalyzer",
    "Embedded",
    "FileHider",
    "Hider",
    "Method",
    "Protector",
    "Watermarker",
]
