"""Every protector passes the kit, in all the ways it can be set."""

from __future__ import annotations

import pytest

from privmed import registry
from privmed.testing import checks_for

TINY = {"width": 1, "size": 32, "batch": 2}
METHODS = {
    "noise": ("noise", {}),
    "noise-roi": ("noise", {"where": "roi"}),
    "noise-contour": ("noise", {"where": "contour"}),
    "noise-checkerboard": ("noise", {"where": "both", "pattern": "checkerboard"}),
    "noise-blue": ("noise", {"where": "both", "pattern": "blue"}),
    "noise-band": ("noise", {"where": "both", "pattern": "band"}),
    "noise-texture": ("noise", {"where": "both", "texture": "code"}),
    "lsp": ("lsp", {}),
    "lsp-l2": ("lsp", {"norm": "l2"}),
    "ar": ("ar", {}),
    "ar-l2": ("ar", {"norm": "l2"}),
    "em": ("em", {**TINY, "rounds": 2, "batches": 1, "steps": 2}),
    "em-contour": ("em", {**TINY, "rounds": 2, "batches": 1, "steps": 2, "where": "contour"}),
    "em-classes": ("em", {**TINY, "rounds": 2, "batches": 1, "steps": 2, "classes": 2}),
    "em-classwise": ("em", {**TINY, "rounds": 2, "batches": 1, "classes": 2, "classwise": True}),
    "tap": ("tap", {**TINY, "epochs": 2, "steps": 2}),
    "tap-classes": ("tap", {**TINY, "epochs": 2, "steps": 2, "classes": 2}),
    "sep": ("sep", {**TINY, "epochs": 2, "checkpoints": 2, "steps": 2}),
    "umed": ("umed", {"quick": True, **TINY, "cycles": 2}),
    "umed-vanilla": ("umed", {"quick": True, **TINY, "cycles": 2, "contour": "vanilla", "texture": "none"}),
    "umed-full": ("umed", {"quick": True, **TINY, "cycles": 2, "contour": "none", "texture": "full", "robust": True}),
    "umed-robust": ("umed", {"quick": True, **TINY, "cycles": 2, "robust": True, "texture": "smooth"}),
    "tint": ("tint", {}),
    "tint-red": ("tint", {"pattern": "red"}),
    "tint-smooth": ("tint", {"pattern": "checkerboard", "texture": "smooth", "contour_kernel": 5}),
    "waves": ("waves", {}),
    "waves-set": ("waves", {"secret": "set", "size": 64}),
    "waves-image": ("waves", {"secret": "image"}),
    "waves-y": ("waves", {"direction": "y", "cycles": 2, "contour_kernel": 5}),
}


@pytest.mark.parametrize("check", checks_for("protector"), ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_conforms(name, check):
    method, settings = METHODS[name]
    check(registry.create("protector", method, None, None, **settings))
