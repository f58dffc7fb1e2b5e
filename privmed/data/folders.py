"""Data-set folders: what lies in them, which part is for training, and a validation part cut out of it.

A set is a folder with ``images/`` and ``masks/`` (segmentation), with one sub-folder a class (classification), or simply with pictures
in it. An optional ``split.csv`` (``file,split``) names the train and test part, an optional ``groups.csv`` (``file,group``) the images that
show the same patient or lesion, which must not be torn apart.
The folder, ``images/`` and ``masks/`` may be links; no name and no link in them leads out of them.
"""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path
from typing import NamedTuple

from privmed.data.tables import read_table
from privmed.errors import InputError
from privmed.files import inside
from privmed.limits import read_bytes

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"}


class Item(NamedTuple):
    """One image of a set."""

    image: Path
    mask: Path | None
    label: str | None
    group: str


class ImageFolder:
    """The files of one data set, by split.

    Args:
        path: the folder.
        lenient: name missing files too, and leave it to whoever opens them to complain: one bad image does not stop the others.

    Raises:
        InputError: when the folder does not exist, holds no picture, or its tables name files that are not there or lie elsewhere.
    """

    def __init__(self, path: str | Path, *, lenient: bool = False) -> None:
        self.path, self.lenient = Path(path), lenient
        if not self.path.is_dir():
            raise InputError(f"data set {self.path}: no such folder.")
        self.root = self.path / "images" if (self.path / "images").is_dir() else self.path
        masks = self.path / "masks"
        self.masks = masks if self.root != self.path and masks.is_dir() else None
        self._split = self.table("split.csv", "split")
        self._groups = self.table("groups.csv", "group")

    @property
    def folders(self) -> list[Path]:
        """Where its files lie: in itself, and where ``images/`` and ``masks/`` are links, also there."""
        return [self.path, self.root, *([self.masks] if self.masks else [])]

    def table(self, name: str, column: str) -> dict[str, str]:
        """What a table of the set says of each image; empty when there is no such table.

        Raises:
            InputError: as :func:`privmed.data.tables.read_table`.
        """
        return read_table(inside(self.path, name), column)

    @property
    def has_split(self) -> bool:
        """Whether a table says which images are for training."""
        return bool(self._split)

    def items(self, split: str | None = None) -> list[Item]:
        """Return the images of ``"train"``, ``"test"`` or (None) of the whole set, in a fixed order.

        Raises:
            InputError: when there is no picture in that split, or a mask is missing.
        """
        if not self._split:
            return self.present()
        names = [name for name, part in self._split.items() if split in (None, part)]
        if not names:
            raise InputError(f"data set {self.path}: no pictures" + (f" in its {split} split." if split else "."))
        return [self._item(name) for name in sorted(names)]

    def present(self) -> list[Item]:
        """The images that are really there, whatever ``split.csv`` says: of a folder that somebody passed on, or a part of one.

        Raises:
            InputError: when there is none, or a link leads out of the folder.
        """
        for link in (p for p in self.root.rglob("*") if p.is_symlink() and p.is_dir()):
            inside(
                self.root, link.relative_to(self.root).as_posix()
            )  # or its pictures would be left out without a word
        names = self.names()
        if not names:
            raise InputError(f"data set {self.path}: no pictures.")
        return [self._item(name) for name in names]

    def names(self) -> list[str]:
        """The names of the pictures that are really there."""
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.suffix.lower() in PICTURES)

    def strays(self) -> list[Path]:
        """Masks that belong to no image."""
        if self.masks is None:
            return []
        used = {item.mask for item in self.present()}
        return sorted(p for p in self.masks.rglob("*") if p.suffix.lower() in PICTURES and p not in used)

    def digest(self, split: str | None = None) -> str:
        """Hash of the names and contents of a split's images and masks, and of the split: whether two runs saw the same data."""
        whole = hashlib.sha256()
        for item in self.items(split):
            name = item.image.relative_to(self.root).as_posix()
            whole.update(f"{name}:{self._split.get(name, '')}\n".encode())
            for path in (item.image, item.mask):
                whole.update(b"" if path is None else hashlib.sha256(read_bytes(path)).digest())
        return whole.hexdigest()[:16]

    def _item(self, name: str) -> Item:
        image = inside(self.root, name, self.path)
        mask = self._mask(name) if self.masks else None
        for path in (image, mask):
            if path is not None and not path.is_file() and not self.lenient:
                raise InputError(f"data set {self.path}: {path.relative_to(self.path)} is missing.")
        label = name.split("/")[0] if "/" in name and not self.masks else None
        return Item(image, mask, label, self._groups.get(name, f"{self.path.name}/{name}"))

    def _mask(self, name: str) -> Path:
        """The mask of that name, or with another ending if only that is there (``a.jpg`` and ``a.png``)."""
        exact = inside(self.masks, name, self.path)
        if exact.is_file():
            return exact
        near = [p for p in exact.parent.glob(f"{glob.escape(exact.stem)}.*") if p.suffix.lower() in PICTURES]
        return inside(self.masks, near[0].relative_to(self.masks).as_posix()) if len(near) == 1 else exact


def cut_validation(items: list[Item], fraction: float, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Cut a validation part out of a training part, along groups.

    Whether a group goes to validation depends on its name and the seed alone, so sets that share their groups share the cut.

    Returns:
        (training, validation); their union is ``items``.
    """

    def draw(group: str) -> float:
        return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64

    held = [draw(item.group) < fraction for item in items]
    return [i for i, h in zip(items, held) if not h], [i for i, h in zip(items, held) if h]
