"""Checks of suites."""

from __future__ import annotations

from privmed.bench.contracts import Quantity, Suite
from privmed.hooks import METHODS


def check_suite_says_what_it_measures(suite: Suite) -> None:
    """It compares methods of a kind that exists, its dimensions have values, and its quantities have titles."""
    assert suite.methods in METHODS, f"methods is {suite.methods!r}; there are {', '.join(METHODS)}"
    assert all(isinstance(v, list) and v for v in suite.grid.values()), "a dimension of grid has no values"
    for name, quantity in suite.quantities.items():
        assert isinstance(quantity, Quantity), f"quantities[{name!r}] is {type(quantity).__name__}"
        assert quantity.title
        assert quantity.better in ("higher", "lower")
