"""Marked images beside unmarked ones, with what the models say of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from privmed.bench.pictures import path_of, write_pair
from privmed.files import whole_file
from privmed.jobs.lock import alone

INDEX = "watermarks.json"


class Gallery:
    """Pictures in a folder, whose captions are beside them.

    Args:
        folder: where they go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, before: np.ndarray, after: np.ndarray, caption: str) -> str:
        """Write two images side by side; returns the name of the file."""
        path = path_of(self.folder, name)
        write_pair(path, before, after)
        with alone(self.folder):  # other workers add theirs
            known = {**self._captions(), path.name: caption}
            with whole_file(self.folder / INDEX, overwrite=True) as temporary:
                temporary.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
        return path.name

    def pictures(self) -> list[tuple[str, Path]]:
        """Captions and files."""
        return [(text, self.folder / name) for name, text in self._captions().items()]

    def _captions(self) -> dict[str, str]:
        index = self.folder / INDEX
        return json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
