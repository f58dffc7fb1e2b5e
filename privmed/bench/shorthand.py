"""Entries written in a line, ``umed,em[where=roi]``, each protector with the random noise that it has to beat."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from attrs import evolve

from privmed import registry
from privmed.bench.plan import Entry
from privmed.data.samples import ultrasound_phantom
from privmed.imaging.contour import contour
from privmed.settings import parse_named

REGIONS = {"ROI": "roi", "contour": "contour", "ROI and contour": "both"}
CONSTANT = Entry(label="constant baseline", method="constant", paper="-")
UNPROTECTED = Entry(label="unprotected", paper="none")
WHOLE = Entry(label="noise, whole image", method="noise", settings={"where": "image"})
CONTROLS = (
    WHOLE,
    *(Entry(label=f"noise, {name}", method="noise", settings={"where": where}) for name, where in REGIONS.items()),
)
PROBE = 64  # side of the phantom on which a method is asked where it may act


def protectors(text: str, shared: dict[str, dict[str, Any]] | None = None) -> list[Entry]:
    """Protectors by name, behind the controls that belong to them.

    Args:
        text: names with commas; settings of one in brackets, with semicolons: ``umed,umed[robust=true;cycles=20]``.
        shared: settings by method, for all its entries.

    Raises:
        MethodNotFoundError, PluginError, SettingsError: for what cannot take part.
    """
    found, controls = [], {WHOLE.label: WHOLE}
    for entry in entries("protector", text, shared):
        own = control_of(entry)
        for control in (WHOLE, own):  # the whole image, then the one that has to be beaten
            as_strong = strengthened(control, entry)
            controls[as_strong.label] = as_strong
        found.append(evolve(entry, control=strengthened(own, entry).label))
    order = [c.label for c in CONTROLS]
    ranked = sorted(controls.values(), key=lambda c: order.index(c.label) if c.label in order else len(order))
    return [CONSTANT, UNPROTECTED, *ranked, *found]


def strengthened(control: Entry, entry: Entry) -> Entry:
    """A control as strong as what it is held against."""
    epsilon = entry.settings.get("epsilon")
    if epsilon is None:
        return control
    strong = {**control.settings, "epsilon": epsilon}
    return evolve(control, label=f"{control.label}, {epsilon * 255:.3g}/255", settings=strong)


def entries(kind: str, text: str, shared: dict[str, dict[str, Any]] | None = None) -> list[Entry]:
    """Entries of one kind of method, by name.

    Raises:
        MethodNotFoundError, PluginError, SettingsError: for what cannot take part.
    """
    return list(_entries(kind, re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text), shared or {}))


def _entries(kind: str, labels: Iterable[str], shared: dict[str, dict[str, Any]]) -> Iterable[Entry]:
    for label in labels:
        name, own = parse_named(label)
        registry.load(kind, name)
        yield Entry(label=label.strip(), method=name, settings={**shared.get(name, {}), **own})


def control_of(entry: Entry) -> Entry:
    """Random noise in the smallest region that holds all the places where a method may act, asked of the method itself."""
    image, mask = ultrasound_phantom(0, side=PROBE)
    method = registry.create("protector", entry.method, None, None, **entry.settings)
    acts = method.support(image.expand(-1, 3, -1, -1), mask)
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
    return WHOLE
