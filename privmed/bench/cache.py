"""What is expensive and serves many cells: protected sets, trained networks, trained pairs; kept on disk by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from privmed.files import make_folder, whole_file

Made = tuple[dict[str, Tensor], dict[str, Any]]


def digest(about: Mapping[str, Any]) -> str:
    """A short name of plain data, equal for equal data."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


class Cache:
    """Tensors and plain figures beside them, one safetensors file each.

    Args:
        folder: where the files go; made when the first one is kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, kind: str, about: Mapping[str, Any]) -> Path:
        """Where something lies, or would."""
        return self.folder / kind / f"{digest(about)}.safetensors"

    def get(self, kind: str, about: Mapping[str, Any], make: Callable[[], Made]) -> Made:
        """What was kept under this description, or what ``make`` gives now.

        Args:
            kind: sub-folder: ``"published"``, ``"exploiters"``, ``"pairs"``.
            about: everything that the result rests on, as plain data.
            make: gives tensors by name, and plain figures.
        """
        from safetensors import safe_open
        from safetensors.torch import save_file

        path = self.path(kind, about)
        if path.is_file():
            with safe_open(path, "pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                return tensors, json.loads(stored.metadata()["figures"])
        tensors, figures = make()
        make_folder(path.parent)
        with whole_file(path, overwrite=True) as temporary:
            plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
            save_file(plain, temporary, {"figures": json.dumps(figures), "about": json.dumps(about, sort_keys=True)})
        return tensors, figures
