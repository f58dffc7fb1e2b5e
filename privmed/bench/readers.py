"""Readers of data sets as they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.contracts import Reader
from privmed.bench.data import Dataset, Sample
from privmed.data.folders import PICTURES, ImageFolder
from privmed.errors import InputError
from privmed.imaging import read

MASK = "_mask"


def read_dataset(path: Path, reader: str = "") -> Dataset:
    """A data set, by the named reader or the first one that recognises it; ours are asked last, folders of pictures at the very end.

    Raises:
        InputError: when it is not there, or no reader recognises it.
    """
    if reader:
        return registry.part("reader", reader).read(path)
    if not path.exists():
        raise InputError(f"data set {path}: no such folder or file.")
    ours = [Busi, Npz, Folder]
    rows = registry.plugins("reader")
    strangers = [registry.load("reader", r.name) for r in rows if r.status != "broken" and r.distribution != "privmed"]
    for cls in [*strangers, *ours]:
        if cls.recognises(path):
            return cls().read(path)
    raise InputError(f"data set {path}: no reader recognises it. Name one with reader: in the plan.")


class Folder(Reader):
    """``images/`` and ``masks/``, one sub-folder a class, or plain pictures; ``split.csv`` and ``groups.csv`` if there."""

    name = "folder"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir()

    def read(self, path: Path) -> Dataset:
        folder = ImageFolder(path)
        split = {i.image: part for part in ("train", "test") for i in _part(folder, part)} if folder.has_split else {}

        def sample(item) -> Sample:
            return Sample(
                name=item.image.relative_to(folder.root).as_posix(),
                image=lambda: read(item.image).tensor(),
                mask=None if item.mask is None else lambda: mask_of(item.mask),
                label=item.label,
                group=item.group,
                split=split.get(item.image, ""),
            )

        samples = [sample(i) for i in folder.items() if not split or i.image in split]
        return Dataset(path.name, samples, digest=folder.digest if split else None, origin=path)


class Busi(Reader):
    """BUSI and its like: ``CLASS/NAME.png`` with the truth in ``NAME_mask.png``, ``NAME_mask_1.png``, ... beside it."""

    name = "busi"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and any(MASK in p.stem for p in path.glob("*/*.png"))

    def read(self, path: Path) -> Dataset:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES)
        images = [p for p in files if MASK not in p.stem]
        masks: dict[Path, list[Path]] = {}
        for p in files:
            if MASK in p.stem:
                masks.setdefault(p.with_name(p.stem.partition(MASK)[0]), []).append(p)

        def sample(image: Path) -> Sample:
            mine = masks.get(image.with_suffix(""), [])
            return Sample(
                name=image.relative_to(path).as_posix(),
                image=lambda: read(image).tensor(),
                mask=(lambda: torch.stack([mask_of(m) for m in mine]).amax(0)) if mine else None,
                label=image.parent.name if image.parent != path else None,
            )

        return Dataset(path.name, [sample(i) for i in images], origin=path)


class Npz(Reader):
    """MedMNIST's archives: ``train_images``, ``train_labels``, ``test_images``, ...; labels as numbers."""

    name = "npz"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.suffix == ".npz"

    def read(self, path: Path) -> Dataset:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {k: archive[k] for k in archive.files}
        except (OSError, ValueError) as error:
            raise InputError(f"data set {path}: cannot be read as an npz archive ({error}).") from error
        samples = []
        for part in ("train", "val", "test"):
            if f"{part}_images" not in arrays:
                continue
            labels = arrays.get(f"{part}_labels")
            for n, pixels in enumerate(arrays[f"{part}_images"]):
                label = None if labels is None else "-".join(str(int(v)) for v in np.ravel(labels[n]))
                samples.append(
                    Sample(
                        name=f"{part}/{n}",
                        image=_planes(pixels),
                        label=label,
                        split="test" if part == "test" else "train",
                    )
                )
        if not samples:
            raise InputError(f"data set {path}: holds no train_images, val_images or test_images.")
        return Dataset(path.stem, samples, origin=path)


def mask_of(path: Path) -> Tensor:
    """A mask file as (1, 1, H, W), 0 or 1: what exceeds half of its largest value is foreground, be that 255 or 1."""
    seen = read(path).tensor()[0].amax(0)
    return (seen > seen.max() / 2).float()[None, None]


def _planes(pixels: np.ndarray):
    planes = np.moveaxis(pixels, 2, 0) if pixels.ndim == 3 else pixels[None]
    return lambda: torch.from_numpy(planes.astype(np.float32))[None] / 255


def _part(folder: ImageFolder, part: str) -> list:
    try:
        return folder.items(part)
    except InputError:
        return []


@hookimpl
def privmed_register(register):
    for reader in (Folder, Busi, Npz):
        register(reader)
