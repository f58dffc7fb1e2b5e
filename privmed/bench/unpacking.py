"""Data sets of any reader as folders of pictures, which all commands take."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from privmed.bench.data import Dataset, Sample
from privmed.data.folders import ImageFolder, stem_of
from privmed.errors import InputError, OutputError
from privmed.files import folded, local_name, whole_folder
from privmed.imaging.raster import encode_png
from privmed.imaging.wire import to_bytes
from privmed.interfaces.validation import MINIMUM_SIDE

MAPS = "masks-multi"  # the folder of maps whose pixels are numbers of classes


@frozen(kw_only=True)
class Unpacked:
    """What was written.

    Attributes:
        images: how many.
        train: those of them that are for training.
        test: those that are for testing.
        masks: whether they have masks.
        classes: names of their classes, in alphabetical order; those of the outlined lesions stand in ``labels.csv``.
        small: how many have a side that methods do not take (below 32).
    """

    images: int
    train: int
    test: int
    masks: bool
    classes: list[str]
    small: int


def unpack(
    dataset: Dataset, folder: Path, progress: Callable[[int, int], None] = lambda *_: None, *, classes: int = 0
) -> Unpacked:
    """Write a data set as a folder: 8-bit PNGs in ``images/`` and ``masks/``, or in one sub-folder a class, with its split and groups.

    Args:
        dataset: of any reader.
        folder: to be made, whole or not at all.
        progress: told images done and images in all.
        classes: also write maps of so many classes, the background (0) among them, into ``masks-multi/``; 0 for none.

    Raises:
        InputError: when maps of classes are asked for that are not there or hold other numbers, only some images have a mask or a class,
            two would have one name, or a folder with these names would be read as something else.
        OutputError: when the folder cannot be written, is not empty, or lies in the set itself.
    """
    samples = dataset.samples
    masked, labelled = (_all_or_none(dataset, samples, what) for what in ("mask", "label"))
    if classes and not (masked and all(s.numbers for s in samples)):
        raise InputError(f"data set {dataset.origin}: has no maps of classes.")
    names = [_name(dataset, s, masked, labelled) for s in samples]
    often = Counter(map(folded, names))
    twice = next((n for n in names if often[folded(n)] > 1), None)
    if twice:
        raise InputError(f"data set {dataset.origin}: two of its images would be called {twice}.")
    if Path(dataset.origin).resolve() in folder.resolve().parents:
        raise OutputError(f"{folder}: lies in the data set {dataset.origin} itself. Choose another place.")
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder}: is not empty. Name a folder of its own for the set.")
    small = 0
    with whole_folder(folder) as made:
        for n, (name, sample) in enumerate(zip(names, samples)):
            pixels = to_bytes(sample.image())
            small += min(pixels.shape[:2]) < MINIMUM_SIDE
            _write(made / "images" / name if masked else made / name, pixels)
            if masked:
                _write(made / "masks" / name, to_bytes((sample.mask().amax(1, keepdim=True) > 0.5).float()))
            if classes:
                _write(made / MAPS / name, sample.numbers(None, classes)[0].byte().numpy())
            progress(n + 1, len(samples))
        _table(made / "split.csv", "split", names, [s.split for s in samples])
        if any(s.group for s in samples):
            _table(made / "groups.csv", "group", names, [s.group or s.name for s in samples])
        if masked and labelled:
            _table(made / "labels.csv", "label", names, [s.label for s in samples])
        _read_back(dataset, made, names, masked, labelled)
    parts = [s.split for s in samples]
    return Unpacked(
        images=len(samples),
        train=parts.count("train"),
        test=parts.count("test"),
        masks=masked,
        classes=sorted({s.label for s in samples}) if labelled else [],
        small=small,
    )


def _all_or_none(dataset: Dataset, samples: list[Sample], what: str) -> bool:
    have = sum(getattr(s, what) is not None for s in samples)
    if have not in (0, len(samples)):
        raise InputError(
            f"data set {dataset.origin}: {have} of its {len(samples)} images have a {what}, expected all or none."
        )
    return have > 0


def _read_back(dataset: Dataset, made: Path, names: list[str], masked: bool, labelled: bool) -> None:
    """Refuse names that mean something else in a folder, such as a class ``images`` or a picture ``x_mask`` beside ``x``."""
    wanted = {n: s.label if labelled and not masked else None for n, s in zip(names, dataset.samples)}
    try:
        found = ImageFolder(made)
        items = [item for part in set(found.split.values()) for item in found.items(part)]
        seen = {i.image.relative_to(found.root).as_posix(): i.label for i in items}
        if found.has_masks == masked and seen == wanted:
            return
    except InputError:  # speaks of files of a folder that is gone
        pass
    raise InputError(
        f"data set {dataset.origin}: names of its images or classes ({', '.join(sorted(names)[:3])} ...) mean something else in a "
        "folder. Rename classes that are called images, train or test, and pictures that end in _mask."
    )


def _name(dataset: Dataset, sample: Sample, masked: bool, labelled: bool) -> str:
    """Where an image goes: its name without folders, below its class where classes are the truth."""
    whole = local_name(sample.name, f"data set {dataset.origin}")
    stem = stem_of(whole)
    if not labelled or masked:
        return stem.replace("/", "-") + ".png"
    label = local_name(sample.label, f"data set {dataset.origin}, a class")
    if "/" in label:
        raise InputError(
            f"data set {dataset.origin}: the class {label} has a slash in its name, and would be a folder in a folder."
        )
    return f"{label}/{stem.removeprefix(f'{label}/').replace('/', '-')}.png"


def _write(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))


def _table(path: Path, column: str, names: list[str], values: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", column), *zip(names, values)])
