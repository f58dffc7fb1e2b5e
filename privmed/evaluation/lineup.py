"""Who takes part in a comparison of protectors: from ``umed,em[where=roi]`` to published sets, each with the control it has to beat."""

from __future__ import annotations

import re
from typing import Any

import torch
from attrs import Factory, evolve, field, frozen

from privmed import registry
from privmed.data.samples import ultrasound_phantom
from privmed.errors import SettingsError
from privmed.imaging.contour import contour
from privmed.settings import parse_assignments


@frozen(kw_only=True)
class Contestant:
    """One published set: a protector with its settings, or nothing at all."""

    label: str
    method: str = ""  # empty: the images as they are
    settings: dict[str, Any] = field(default=Factory(dict))
    control: str = ""  # label of the random noise it has to beat


REGIONS = {"ROI": "roi", "contour": "contour", "ROI and contour": "both"}
CONTROLS = (
    Contestant(label="unprotected"),
    Contestant(label="noise, whole image", method="noise", settings={"where": "image"}),
    *(Contestant(label=f"noise, {name}", method="noise", settings={"where": where}) for name, where in REGIONS.items()),
)
ALWAYS = ("unprotected", "noise, whole image")
PROBE = 64  # side of the phantom on which a method is asked where it may act


def lineup(text: str, size: int, shared: dict[str, dict[str, Any]] | None = None) -> list[Contestant]:
    """Contestants by name, behind the controls that belong to them.

    Args:
        text: names with commas; settings of one in brackets, with semicolons: ``umed,umed[robust=true;cycles=20]``.
        size: of the images, for methods that learn at one size.
        shared: settings by method, for all its entries.

    Raises:
        MethodNotFoundError, PluginError, SettingsError: for what cannot take part.
    """
    found: list[Contestant] = []
    controls = {c.label: c for c in CONTROLS if c.label in ALWAYS}
    for label in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        name, own = entry(label)
        known = {a.name for a in registry.load("protector", name).Config.__attrs_attrs__}
        config = {**({"size": size} if "size" in known else {}), **(shared or {}).get(name, {}), **own}
        for control in (CONTROLS[1], control_of(name, config)):  # the whole image, then the one that has to be beaten
            if "epsilon" in config:  # noise has to be as strong as what it is held against
                strong = {**control.settings, "epsilon": config["epsilon"]}
                control = evolve(control, label=f"{control.label}, {config['epsilon'] * 255:.3g}/255", settings=strong)
            controls[control.label] = control
        found.append(Contestant(label=label, method=name, settings=config, control=control.label))
    order = [c.label for c in CONTROLS]
    return [*sorted(controls.values(), key=lambda c: order.index(c.label) if c.label in order else len(order)), *found]


def entry(text: str) -> tuple[str, dict[str, Any]]:
    """``umed[robust=true]`` as a name and settings."""
    name, bracket, rest = text.partition("[")
    if bracket and not rest.endswith("]"):
        raise SettingsError(f"{text}: expected NAME[setting=value;setting=value].")
    return name.strip(), parse_assignments(rest[:-1].split(";")) if rest[:-1] else {}


def control_of(name: str, config: dict[str, Any]) -> Contestant:
    """Random noise in the smallest region that holds all the places where a method may act, asked of the method itself."""
    image, mask = ultrasound_phantom(0, side=PROBE)
    acts = registry.create("protector", name, None, None, **config).support(image.expand(-1, 3, -1, -1), mask)
    for kernel in (3, 5, 7, 9):
        outline = contour(mask, kernel)
        areas = {"ROI": mask, "contour": outline, "ROI and contour": torch.maximum(mask, outline)}
        for region, area in areas.items():
            if not (acts & (area == 0)).any():
                found = next(c for c in CONTROLS if c.label == f"noise, {region}")
                if kernel == 3:
                    return found
                more = {**found.settings, "contour_kernel": kernel}
                return evolve(found, label=f"{found.label} of {kernel} pixels", settings=more)
    return CONTROLS[1]
