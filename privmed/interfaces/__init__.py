"""The four contracts of privmed: what a method must do, and what the core does for it.

The public methods are final. They check and normalise their input once and call the plugin's private method, which may trust
what it gets: float32 on the method's device, finite, the documented range and shape, sides padded to ``multiple``.
"""

from privmed.interfaces.analyzer import Analyzer
from privmed.interfaces.base import Method
from privmed.interfaces.hider import Hider
from privmed.interfaces.protector import Protector
from privmed.interfaces.watermarker import Embedded, Watermarker

KINDS: dict[str, type[Method]] = {c.kind: c for c in (Hider, Analyzer, Protector, Watermarker)}

__all__ = ["KINDS", "Analyzer", "Embedded", "Hider", "Method", "Protector", "Watermarker"]
