"""Readers of data sets as they are published."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.contracts import Reader
from privmed.bench.data import Dataset, Sample
from privmed.bench.nifti import Nifti
from privmed.data.folders import ImageFolder, Item
from privmed.data.masks import foreground
from privmed.data.pixels import load_labels
from privmed.errors import InputError, SettingsError
from privmed.imaging import read
from privmed.limits import check_file, limits, raise_it
from privmed.settings import inner_path, setting


def read_dataset(path: Path, reader: str = "", settings: dict[str, Any] | None = None) -> Dataset:
    """A data set, by the named reader or the first one that recognises it; ours are asked last, folders of pictures at the very end.

    Raises:
        InputError: when it is not there, or no reader recognises it.
        SettingsError: for settings that the reader does not have, or that no reader is named for.
    """
    if settings and not reader:
        raise SettingsError(f"data set {path}: settings of a reader were given, but no reader was named.")
    if not path.exists():
        raise InputError(f"data set {path}: no such folder or file.")
    if reader:
        return registry.part("reader", reader, **(settings or {})).read(path)
    ours = [Nifti, Npz, Busi, Folder]
    rows = registry.plugins("reader")
    strangers = [registry.load("reader", r.name) for r in rows if r.status != "broken" and r.distribution != "privmed"]
    for cls in [*strangers, *ours]:
        if cls.recognises(path):
            return cls().read(path)
    raise InputError(f"data set {path}: no reader recognises it. Name one with reader: in the plan.")


@frozen(kw_only=True)
class FolderConfig:
    """Which images of a folder, and what their truth is."""

    masks: str = setting("masks", "folder of the masks; none where its images have no lesion", inner_path())
    only: str = setting("", "the one class of it that is taken")


class Folder(Reader):
    """``images/`` and ``masks/`` (Kvasir-SEG), one sub-folder a class, or plain pictures; ``split.csv`` and ``groups.csv`` if there.

    With ``masks: none`` every image has an empty mask: what is marked on it is marked falsely.
    """

    name = "folder"
    Config = FolderConfig

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir()

    def read(self, path: Path) -> Dataset:
        folder = ImageFolder(path, masks=self.config.masks, only=self.config.only)

        def image(item: Item) -> Tensor:
            return read(item.image).tensor()

        def mask(item: Item) -> Callable[[], Tensor] | None:
            if item.empty:
                return lambda: torch.zeros_like(image(item)[:, :1])
            return None if item.mask is None else lambda: foreground(item.mask)

        def numbers(item: Item) -> Callable[[int | None, int], Tensor] | None:
            return None if item.mask is None else lambda size, classes: load_labels(item.mask, size, classes)

        def sample(item: Item) -> Sample:
            name = item.image.relative_to(folder.root).as_posix()
            return Sample(
                name=name,
                image=lambda: image(item),
                mask=mask(item),
                numbers=numbers(item),
                label=item.label,
                group=item.group,
                split=parts.get(name, ""),
            )

        parts = folder.split
        every = [sample(item) for item in folder.items()] if parts else []
        samples = [s for part in ("train", "test") for s in every if s.split == part]
        if not samples:
            folder.present()  # says why, if there is nothing at all
        return Dataset(path.name, samples, digest=folder.digest, origin=path)


class Busi(Folder):
    """BUSI and its like: ``CLASS/NAME.png`` with the truth in ``NAME_mask.png``, ``NAME_mask_1.png``, ... beside it."""

    name = "busi"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and (folder := ImageFolder(path)).has_masks and folder.masks is None

    def read(self, path: Path) -> Dataset:
        if path.is_dir() and not self.recognises(path):
            raise InputError(f"data set {path}: no picture NAME.png has its mask NAME_mask.png beside it.")
        return super().read(path)


class Npz(Reader):
    """MedMNIST's archives: ``train_images``, ``train_labels``, ``test_images``, ...; labels as numbers."""

    name = "npz"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.suffix == ".npz"

    def read(self, path: Path) -> Dataset:
        arrays = _arrays(path)
        parts = [part for part in ("train", "val", "test") if f"{part}_images" in arrays]
        if not parts:
            raise InputError(f"data set {path}: holds no train_images, val_images or test_images.")
        samples = [s for part in parts for s in _of_part(path, part, arrays)]
        return Dataset(path.stem, samples, origin=path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What an archive holds; nothing in it is run."""
    try:
        check_file(path)
        with zipfile.ZipFile(path) as archive:
            if sum(m.file_size for m in archive.infolist()) > limits().file_bytes:
                raise InputError(f"data set {path}: unpacks to {raise_it('file_bytes')}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"data set {path}: cannot be read as an npz archive ({error}).") from error


def _of_part(path: Path, part: str, arrays: dict[str, np.ndarray]) -> list[Sample]:
    images, labels = arrays[f"{part}_images"], arrays.get(f"{part}_labels")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)) or images.dtype != np.uint8:
        raise InputError(
            f"data set {path}: {part}_images are {images.dtype} of shape {images.shape}, expected uint8 of shape (N, H, W), or with 1 or 3 "
            "channels at the end."
        )
    if labels is not None and len(labels) != len(images):
        raise InputError(f"data set {path}: has {len(images)} {part}_images, but {len(labels)} {part}_labels.")

    def sample(n: int) -> Sample:
        planes = np.moveaxis(images[n], 2, 0) if images.ndim == 4 else images[n][None]
        return Sample(
            name=f"{part}/{n}",
            image=lambda: torch.from_numpy(planes.astype(np.float32))[None] / 255,
            label=None if labels is None else "-".join(str(int(v)) for v in np.ravel(labels[n])),
            split="test" if part == "test" else "train",
        )

    return [sample(n) for n in range(len(images))]


@hookimpl
def privmed_register(register):
    for reader in (Folder, Busi, Npz, Nifti):
        register(reader)
