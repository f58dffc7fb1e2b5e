"""Who takes part in a comparison of protectors: from ``umed,em[where=roi]`` to published sets, each with the control it has to beat."""

from __future__ import annotations

import re
from typing import Any

from attrs import Factory, evolve, field, frozen

from privmed import registry
from privmed.errors import SettingsError
from privmed.settings import parse_assignments


@frozen(kw_only=True)
class Contestant:
    """One published set: a protector with its settings, or nothing at all."""

    label: str
    method: str = ""  # empty: the images as they are
    settings: dict[str, Any] = field(default=Factory(dict))
    control: str = ""  # label of the random noise it has to beat


CONTROLS = (
    Contestant(label="unprotected"),
    Contestant(label="noise, whole image", method="noise", settings={"where": "image"}),
    Contestant(label="noise, ROI", method="noise", settings={"where": "roi"}),
    Contestant(label="noise, contour", method="noise", settings={"where": "contour"}),
    Contestant(label="noise, ROI and contour", method="noise", settings={"where": "both"}),
)
ALWAYS = ("unprotected", "noise, whole image")


def lineup(text: str, size: int, shared: dict[str, dict[str, Any]] | None = None) -> list[Contestant]:
    """Contestants by name, behind the controls that belong to them.

    Args:
        text: names with commas; settings of one in brackets, with semicolons: ``umed,umed[robust=true;cycles=20]``.
        size: of the images, for methods that learn at one size.
        shared: settings by method, for all its entries.

    Raises:
        MethodNotFoundError, PluginError, SettingsError: for what cannot take part.
    """
    found, stronger = [], {}
    for label in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        name, own = entry(label)
        known = {a.name for a in registry.load("protector", name).Config.__attrs_attrs__}
        config = {**({"size": size} if "size" in known else {}), **(shared or {}).get(name, {}), **own}
        control = control_of(name, config)
        if "epsilon" in config:  # noise has to be as strong as what it is held against
            same = next(c for c in CONTROLS if c.label == control)
            control = f"{control}, {config['epsilon'] * 255:.3g}/255"
            stronger[control] = evolve(same, label=control, settings={**same.settings, "epsilon": config["epsilon"]})
        found.append(Contestant(label=label, method=name, settings=config, control=control))
    wanted = {*ALWAYS, *(c.control for c in found)}
    return [*(c for c in CONTROLS if c.label in wanted), *stronger.values(), *found]


def entry(text: str) -> tuple[str, dict[str, Any]]:
    """``umed[robust=true]`` as a name and settings."""
    name, bracket, rest = text.partition("[")
    if bracket and not rest.endswith("]"):
        raise SettingsError(f"{text}: expected NAME[setting=value;setting=value].")
    return name.strip(), parse_assignments(rest[:-1].split(";")) if rest[:-1] else {}


def control_of(name: str, own: dict[str, Any]) -> str:
    """The random noise of the same support."""
    if name == "umed":
        only = [
            region for region, setting in (("ROI", "contour"), ("contour", "texture")) if own.get(setting) == "none"
        ]
        return f"noise, {only[0] if only else 'ROI and contour'}"
    named = {"image": "whole image", "roi": "ROI", "contour": "contour", "both": "ROI and contour"}
    return f"noise, {named[own.get('where', 'image')]}"
