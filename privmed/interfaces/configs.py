"""Settings that every method of a kind has: base classes of their ``Config``, reachable as ``Protector.Config`` and so on.

A hider or an analyzer needs no settings; without a ``Config`` of its own a method has none.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from privmed.settings import at_least, between, setting, side


@frozen(kw_only=True)
class MethodConfig:
    """No settings: the base of all settings of methods.

    Attributes:
        removed: names of settings that there were, each with what to do instead: the message of who still gives them.
    """

    removed: ClassVar[dict[str, str]] = {}


@frozen(kw_only=True)
class ProtectorConfig(MethodConfig):
    """What every protector can be set to."""

    epsilon: float = setting(4 / 255, "largest change of a pixel, on the [0, 1] scale")
    seed: int = setting(0, "where every draw comes from", at_least(0))


@frozen(kw_only=True)
class LearningConfig(ProtectorConfig):
    """What every protector that is fitted to a data set can be set to."""

    size: int = setting(224, "side of the images it is fitted on", side())


@frozen(kw_only=True)
class WatermarkerConfig(MethodConfig):
    """What every watermarker can be set to."""

    margin: float = setting(0.0, "another class must lead by more than this before the search stops", between(0, 1))
    batch: int = setting(64, "images the oracle is asked about at a time", at_least(1))


@frozen(kw_only=True)
class LogoConfig(WatermarkerConfig):
    """What every watermarker that lays the logo as it is can be set to."""

    scale: float = setting(4.0, "the logo takes one part in this many of each side (sl)", at_least(1))
    jitter: int = setting(
        0,
        "opacity limits vary by up to this from pixel to pixel, as the key says, so that there is no one number to guess; the mark is "
        "grey then",
        between(0, 200),
        formerly="veil",
    )
