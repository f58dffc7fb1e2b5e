"""The plugin directory: what is listed, and what the conformance kit said of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from privmed_site.pages import Pages

FOLDER = Path(__file__).parents[1] / "plugin_directory"
FIELDS = {"name", "about", "home", "by"}


def listed(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The distributions of the directory, each with its version and the results of its parts.

    Raises:
        ValueError: for an entry that lacks a field, or whose results are not of the distribution.
    """
    entries = yaml.safe_load((folder / "directory.yaml").read_text(encoding="utf-8"))
    return [_checked(entry, folder) for entry in entries]


def _checked(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    if entry.keys() != FIELDS:
        raise ValueError(
            f"plugin directory: {entry.get('name')} has the fields {sorted(entry)}, expected {sorted(FIELDS)}"
        )
    found = json.loads((folder / f"{entry['name']}.json").read_text(encoding="utf-8"))
    versions = {about["version"] for about in found["checked"].values() if about["distribution"] == entry["name"]}
    if len(versions) != 1 or any(about["distribution"] != entry["name"] for about in found["checked"].values()):
        raise ValueError(f"plugin directory: the results are not those of one version of {entry['name']} alone")
    parts = []
    for target in found["checked"]:
        mine = [r for r in found["results"] if r["target"] == target]
        parts.append(
            {
                "target": target,
                "count": Counter(r["status"] for r in mine),
                "told": [r for r in mine if r["status"] != "passed"],
                "checks": [r["check"] for r in mine],
            }
        )
    return {**entry, "version": versions.pop(), "privmed": found["privmed"], "parts": parts}


def write(pages: Pages) -> None:
    """The page of the directory."""
    pages.write("plugin-directory.md", "plugin-directory.md", plugins=listed())
