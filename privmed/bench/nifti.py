"""NIfTI volumes as slices; needs ``pip install 'privmed[nifti]'``."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from privmed.bench.contracts import Reader
from privmed.bench.data import Dataset, Sample
from privmed.data.pixels import scaled_labels
from privmed.data.tables import read_table
from privmed.errors import InputError, MissingDependencyError, PrivmedError
from privmed.files import inside
from privmed.limits import check_file, limits, raise_it
from privmed.settings import at_least, between, one_of, setting

ENDINGS = (".nii", ".nii.gz")
FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"), ("images", "masks"))
KEPT = 2  # volumes in memory at a time


@frozen(kw_only=True)
class NiftiConfig:
    """Which slices, and how they are seen."""

    every: int = setting(0, "take every n-th slice, whatever it shows; 0 takes those that hold a label", at_least(0))
    per_volume: int = setting(8, "draw so many of a volume's slices; 0 takes all", at_least(0))
    axis: int = setting(2, "slices across right-left (0), back-front (1) or foot-head (2)", one_of(0, 1, 2))
    label: int = setting(0, "value of the label that is the mask; 0 for anything that is not background", at_least(0))
    channel: int = setting(-1, "channel of volumes that have several; -1 refuses those", at_least(-1))
    darkest: float = setting(0.5, "per cent of a volume that become black", between(0, 50))
    brightest: float = setting(0.5, "per cent of a volume that become white", between(0, 50))
    seed: int = setting(0, "of the draw", at_least(0))


class Nifti(Reader):
    """Volumes of ``images/`` or ``imagesTr/`` with those of ``labels/``, ``masks/`` or ``labelsTr/`` of the same names, or one file.

    The slices of a volume are a group. ``split.csv`` and ``groups.csv`` name volumes.
    """

    name = "nifti"
    Config = NiftiConfig

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return _is_volume(path) or (path.is_dir() and any(map(_is_volume, _images(path).iterdir())))

    def read(self, path: Path) -> Dataset:
        root, labels = (_images(path), _labels(path)) if path.is_dir() else (path.parent, None)
        volumes = sorted(filter(_is_volume, root.iterdir())) if path.is_dir() else [path]
        if not volumes or not all(map(_is_volume, volumes)):
            raise InputError(f"data set {path}: no NIfTI volumes, whose names end in {' or '.join(ENDINGS)}.")
        split, groups = (
            read_table(inside(path, f"{name}.csv"), column) if path.is_dir() else {}
            for name, column in (("split", "split"), ("groups", "group"))
        )
        if split:
            volumes = [v for v in volumes if v.name in split]
        load = functools.lru_cache(KEPT)(self._volume)
        samples = []
        for volume in volumes:
            truth = None if labels is None else _labels_of(volume, labels)
            about = {"group": groups.get(volume.name, volume.name), "split": split.get(volume.name, "")}
            for n in self._chosen(volume, truth):
                samples.append(self._sample(load, volume, truth, n, **about))
        if not samples:
            raise InputError(f"data set {path}: no slice holds the label; set every=n to take slices all the same.")
        return Dataset(path.name, samples, origin=path)

    def _sample(self, load: Callable, volume: Path, truth: Path | None, n: int, **about: str) -> Sample:
        axis, label = self.config.axis, self.config.label

        def mask() -> Tensor:
            found = _plane(load(truth, True), axis, n)
            return (found == label if label else found != 0).float()

        def numbers(size: int | None, classes: int) -> Tensor:
            return scaled_labels(_plane(load(truth, True), axis, n)[0, 0], size, classes, f"{truth}, slice {n}")

        return Sample(
            name=f"{_stem(volume)}/{n:04d}",
            image=lambda: _plane(load(volume, False), axis, n),
            mask=None if truth is None else mask,
            numbers=None if truth is None or label else numbers,  # of a single label there is nothing to tell apart
            **about,
        )

    def _chosen(self, volume: Path, truth: Path | None) -> list[int]:
        """Numbers of the slices that are taken, in order."""
        c = self.config
        size = _shape(volume, c.channel)
        if truth is not None and _shape(truth, -1) != size:
            raise InputError(f"{truth}: the label is {_shape(truth, -1)} voxels, but its volume {size}.")
        if c.every:
            found = list(range(0, size[c.axis], c.every))
        elif truth is None:
            raise InputError(f"{volume}: has no label to choose slices by; set every=n to take every n-th one.")
        else:
            held = self._volume(truth, True)
            held = held == c.label if c.label else held != 0
            found = np.flatnonzero(held.any(tuple({0, 1, 2} - {c.axis}))).tolist()
        if 0 < c.per_volume < len(found):
            seed = hashlib.sha256(f"{c.seed}:{volume.name}".encode()).digest()
            found = sorted(np.random.default_rng(list(seed)).choice(found, c.per_volume, replace=False).tolist())
        return found

    def _volume(self, path: Path, label: bool) -> np.ndarray:
        """A volume with its axes to the right, the front and the head; float32 in [0, 1], or the numbers of labels.

        Raises:
            InputError: when it is cut off, or holds nothing but NaN.
        """
        c = self.config
        _shape(path, -1 if label else c.channel)  # refused before it is unpacked
        with _told(path):
            values = np.asarray(nibabel().as_closest_canonical(_open(path)).dataobj)
        if values.ndim == 4:
            values = values[..., 0 if values.shape[3] == 1 else c.channel]
        if label:
            return np.rint(np.nan_to_num(values)).astype(np.int32)
        known = values[np.isfinite(values)]
        if not known.size:
            raise InputError(f"{path}: the volume holds no finite number.")
        low, high = np.percentile(known, [c.darkest, 100 - c.brightest])
        scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / max(high - low, 1e-12)
        return scaled.clip(0, 1).astype(np.float32)


def _plane(volume: np.ndarray, axis: int, n: int) -> Tensor:
    """A slice as it is looked at, (1, 1, H, W): what is in front, or above, is up."""
    return torch.from_numpy(np.rot90(np.take(volume, n, axis)).copy())[None, None]


def _shape(path: Path, channel: int) -> tuple[int, ...]:
    """Size of a volume, its axes in the same order as those of :meth:`Nifti._volume`; the voxels stay unread.

    Raises:
        MissingDependencyError: when nibabel is not installed.
        InputError: when it is not three-dimensional, not of numbers, or larger than the limit.
    """
    found = _open(path)
    shape, kind = tuple(map(int, found.shape)), found.get_data_dtype()
    if kind.kind not in "iuf":
        raise InputError(f"{path}: holds {kind}, expected a number a voxel.")
    if math.prod(shape) * 8 > limits().file_bytes:
        raise InputError(f"{path}: has {' x '.join(map(str, shape))} voxels of 8 bytes, {raise_it('file_bytes')}")
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or 0 in shape or (channels > 1 and not 0 <= channel < channels):
        hint = f" Choose one of its {channels} channels with channel=n, from 0." if channels > 1 else ""
        raise InputError(f"{path}: is {' x '.join(map(str, shape))}, expected a volume of three dimensions.{hint}")
    with _told(path):
        return tuple(shape[n] for n in np.argsort(nibabel().io_orientation(found.affine)[:, 0]))


def _open(path: Path) -> Any:
    """A volume whose voxels are not read yet."""
    with _told(path):
        check_file(path)
        return nibabel(path).load(path)


def nibabel(path: Path | str = "") -> Any:
    """The library, or what to install."""
    try:
        import nibabel as library
    except ImportError as error:
        raise MissingDependencyError(f"{path}: reading NIfTI needs nibabel: pip install 'privmed[nifti]'.") from error
    return library


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what nibabel says of a damaged file, in many kinds of errors, into a sentence."""
    try:
        yield
    except PrivmedError:
        raise
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a NIfTI volume ({why}).") from error


def _is_volume(path: Path) -> bool:
    return path.name.endswith(ENDINGS) and not path.name.startswith(".")


def _images(path: Path) -> Path:
    return next((path / name for name, _ in FOLDERS if (path / name).is_dir()), path)


def _labels(path: Path) -> Path | None:
    return next(
        (path / labels for images, labels in FOLDERS if _images(path) == path / images and (path / labels).is_dir()),
        None,
    )


def _labels_of(volume: Path, labels: Path) -> Path:
    found = [labels / f"{_stem(volume)}{ending}" for ending in ENDINGS]
    there = next((p for p in found if p.is_file()), None)
    if there is None:
        raise InputError(f"{volume}: has no label {volume.name} in {labels}.")
    return there


def _stem(volume: Path) -> str:
    return volume.name.removesuffix(".gz").removesuffix(".nii")
