"""Data-set folders: what lies in them, which part is for training, and a validation part cut out of it.

A set is a folder with ``images/`` and ``masks/`` (segmentation), with one sub-folder a class (classification), or simply with pictures
in it. Masks may also lie beside their images, as ``NAME_mask.png``, ``NAME_mask_1.png`` and so on (BUSI). An optional ``split.csv``
(``file,split``) names the train and test part, an optional ``groups.csv`` (``file,group``) the images that show the same patient or lesion,
which must not be torn apart. Without a table, folders ``train/`` and ``test/`` are the split; without those it is drawn, the same for
all who ask. The folder, ``images/`` and ``masks/`` may be links; no name and no link in them leads out of them.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from privmed.data.masks import Mask
from privmed.data.split import Key, draw_split
from privmed.data.tables import read_table
from privmed.errors import InputError
from privmed.files import inside
from privmed.limits import read_bytes

NO_MASKS = "none"  # what stands for the folder of masks of images that have nothing to outline
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"}
MAYBE = PICTURES - {".dcm"}  # what is believed by its ending
ENDINGS = PICTURES | {".dicom", ".ima"}  # what is an ending, and not the last number of a UID
BESIDE = re.compile(r"(.+)_mask(?:_\d+)?")  # the stem of a mask that lies beside its image
PARTS = {"train": "train", "val": "train", "valid": "train", "validation": "train", "test": "test"}
"""What the parts of a published split are called; validation images are for training."""
ELSEWHERE = {".nii": "NIfTI volumes", ".gz": "NIfTI volumes", ".npz": "an .npz archive"}
UNPACK = "privmed bench unpack writes as a folder"


class Item(NamedTuple):
    """One image of a set; ``empty`` says that there is nothing to outline in it."""

    image: Path
    mask: Mask | None
    label: str | None
    group: str
    empty: bool = False


class ImageFolder:
    """The files of one data set, by split.

    Args:
        path: the folder.
        lenient: name missing files too, and leave it to whoever opens them to complain: one bad image does not stop the others.
        masks: the folder of its masks; images that have none in another one than ``masks`` are left out. ``"none"``: they need none.
        only: the one class that is taken of a set with one sub-folder a class.

    Raises:
        InputError: when the folder does not exist, holds no picture, or its tables name files that are not there or lie elsewhere.
    """

    def __init__(self, path: str | Path, *, lenient: bool = False, masks: str = "masks", only: str = "") -> None:
        self.path, self.lenient = Path(path), lenient
        if not self.path.is_dir():
            what = ELSEWHERE.get(self.path.suffix) if self.path.is_file() else None
            raise InputError(f"data set {self.path}: " + (f"{what}, which {UNPACK}." if what else "no such folder."))
        self.root = self.path / "images" if (self.path / "images").is_dir() else self.path
        self.only, self.empty, self.partly = only, masks == NO_MASKS, masks != "masks"
        folder = self.path / masks
        self.masks = folder if self.root != self.path and folder.is_dir() and not self.empty else None
        if self.partly and not self.empty and self.masks is None:
            raise InputError(f"data set {self.path}: has no images/ with masks in {masks}/.")
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
        return inside(self.path, "split.csv").is_file()

    @property
    def has_masks(self) -> bool:
        """Whether the truth of its images are masks."""
        return self.masks is not None or bool(self._beside)

    @functools.cached_property
    def split(self) -> dict[str, str]:
        """The part that each image belongs to: as ``split.csv`` says, or as the folders ``train/`` and ``test/``, or drawn 8:2.

        What either calls ``val`` is for training; a part of any other name is neither for training nor for testing.
        """
        if self.has_split:  # a table that names no image is still the one to go by
            return {name: PARTS.get(part.strip().lower(), part) for name, part in self._split.items()}
        names = self.names()
        if self._parted:
            return {name: PARTS[name.split("/")[0].lower()] for name in names}
        labels = self.table("labels.csv", "label")
        keys = [Key(self._groups.get(name, name), self._label(name) or labels.get(name)) for name in names]
        return dict(zip(names, draw_split(keys)))

    def items(self, split: str | None = None) -> list[Item]:
        """Return the images of ``"train"``, ``"test"`` or (None) of the whole set, in a fixed order.

        Raises:
            InputError: when there is no picture in that split, or a mask is missing.
        """
        if not self._split and split is None:
            return self.present()
        names = [name for name, part in self.split.items() if split in (None, part)]
        if not names:
            raise InputError(f"data set {self.path}: no pictures" + (f" in its {split} split." if split else "."))
        return self._chosen(sorted(names))

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
            raise InputError(f"data set {self.path}: no pictures{self._instead()}.")
        return self._chosen(names)

    def names(self) -> list[str]:
        """The names of the pictures that are really there; masks are none."""
        taken = {name for masks in self._beside.values() for name in masks}
        return [name for name in self._pictures(self.root) if name not in taken]

    def beside(self) -> list[Path]:
        """The masks that lie beside images."""
        return [self.root / name for names in self._beside.values() for name in names]

    def strays(self) -> list[Path]:
        """Masks that belong to no image."""
        if self.masks is not None:
            there = [self.masks / name for name in self._pictures(self.masks)]
        else:
            there = self.beside()
        used = {path for item in self.present() if item.mask for path in item.mask.files} if there else set()
        return sorted(path for path in there if path not in used)

    def digest(self, split: str | None = None) -> str:
        """Hash of the names and contents of a split's images and masks, and of the split: whether two runs saw the same data."""
        whole = hashlib.sha256()
        for item in self.items(split):
            name = item.image.relative_to(self.root).as_posix()
            whole.update(f"{name}:{self.split.get(name, '')}\n{'empty' if item.empty else ''}".encode())
            for path in (item.image, *(item.mask.files if item.mask else ())):
                whole.update(hashlib.sha256(read_bytes(path)).digest())
        return whole.hexdigest()[:16]

    def _chosen(self, names: list[str]) -> list[Item]:
        """The images of the class that is taken, and of a folder of masks that need not be complete those that are in it."""
        kept = [n for n in names if not self.only or self._label(n) == self.only]
        if not kept:
            there = sorted({self._label(n) for n in names} - {None})
            raise InputError(
                f"data set {self.path}: no pictures of class {self.only!r}; it has {', '.join(there) or 'no classes'}."
            )
        if self.partly and self.masks:
            kept = [n for n in kept if not self._mask(n).missing]
        return [self._item(name) for name in kept]

    def _item(self, name: str) -> Item:
        image = inside(self.root, name, self.path)
        mask = None if self.empty else self._mask(name)
        for path in (image, *(mask.files if mask else ())):
            if not path.is_file() and not self.lenient:
                raise InputError(f"data set {self.path}: {path.relative_to(self.path)} is missing.")
        return Item(image, mask, self._label(name), self._groups.get(name, f"{self.path.name}/{name}"), self.empty)

    def _label(self, name: str) -> str | None:
        """The class that the folder of an image stands for."""
        folders = name.split("/")[self._parted : -1]
        return folders[0] if folders and self.masks is None else None

    def _mask(self, name: str) -> Mask | None:
        """The mask of that name, or with another ending if only that is there (``a.jpg`` and ``a.png``); or those beside the image."""
        if self.masks is None:
            beside = self._beside.get(stem_of(name), ())
            return Mask(tuple(inside(self.root, n, self.path) for n in beside)) if beside else None
        exact = inside(self.masks, name, self.path)
        if exact.is_file():
            return Mask((exact,))
        stem = stem_of(exact.name)
        near = [p for p in exact.parent.glob(f"{glob.escape(stem)}.*") if p.suffix.lower() in PICTURES]
        near = [p for p in near if stem_of(p.name) == stem]
        only = len(near) == 1
        return Mask((inside(self.masks, near[0].relative_to(self.masks).as_posix()),)) if only else Mask((exact,))

    @functools.cached_property
    def _first_seen(self) -> list[str]:
        """All pictures, masks beside images included, as they were when first looked for: what the layout is told by."""
        return self._pictures(self.root)

    @functools.cached_property
    def _beside(self) -> dict[str, list[str]]:
        """Masks beside images by the name of the image, without its ending; none unless at least one has its image."""
        if self.masks is not None:
            return {}
        names, found = self._first_seen, {}
        for name in names:
            if match := BESIDE.fullmatch(stem_of(name)):
                found.setdefault(match[1], []).append(name)
        return found if found.keys() & {stem_of(name) for name in names} else {}

    @functools.cached_property
    def _parted(self) -> int:
        """How many of the outer folders are parts of a split: 1 where all pictures lie in such folders and both parts are there, else 0."""
        first = {name.split("/")[0].lower() if "/" in name else "" for name in self._first_seen}
        return int(first <= PARTS.keys() and {PARTS[f] for f in first} == {"train", "test"})

    def _pictures(self, root: Path) -> list[str]:
        """The names of what may be a picture in a folder, told by their endings."""
        return sorted(
            name
            for p in root.rglob("*")
            if p.suffix.lower() in PICTURES and not is_hidden(name := p.relative_to(root).as_posix())
        )

    def _instead(self) -> str:
        """What there is, of what this cannot read."""
        found = (ELSEWHERE[p.suffix] for p in sorted(self.path.rglob("*")) if p.suffix in ELSEWHERE)
        what = next(found, "")
        return f", but {what}, which {UNPACK}" if what else ""


def is_hidden(name: str) -> bool:
    """Whether a file is one that systems and tools put beside those of people, or lies in such a folder (``._a.png``, ``.thumbnails/``)."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does; one that cannot be read does not, and a pipe is not waited for."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def may_be_dicom(path: Path) -> bool:
    """Whether a file that is there is DICOM, or has neither its beginning nor the ending of another picture: damaged, or of an old kind."""
    return path.is_file() and (path.suffix.lower() not in MAYBE or is_dicom(path))


def stem_of(name: str) -> str:
    """A name without its ending, if it has one; the last number of a UID is none."""
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.rpartition(".")
    return folder + slash + (stem if dot + ending.lower() in ENDINGS else last)


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
