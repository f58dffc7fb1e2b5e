"""The other side of a watermarked data set: tell marked images apart, and lift their marks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen
from PIL import Image
from torch import Tensor

from privmed.data.folders import ImageFolder, Item
from privmed.errors import InputError, KeyFileError, VerificationError
from privmed.files import local_name
from privmed.imaging import Picture, read
from privmed.imaging.record import fingerprint, use_record
from privmed.jobs.contracts import Place

BITS = 256
NEAR = 24  # of 256 bits of the difference hash: the same picture with a little drawn on it
NAMESAKE = (
    32  # with more drawn on it, if it also has the name; much farther, and strangers' chest X-rays would be as near
)
FEATURES = 32  # set and unset bits that a look needs; a black picture is near to every smooth one


Match = tuple[str, dict[str, Any]]  # owner and entry


class Keyring:
    """The entries of one or more keys, to be found by picture.

    Args:
        keys: name of each key (its owner, or its path) and its entries; one owner may have several.

    Raises:
        InputError: when a key names an image that would lie outside of its data set.
    """

    def __init__(self, keys: list[tuple[str, list[dict[str, Any]]]]) -> None:
        self.marked: dict[str, list[Match]] = {}
        self.original: dict[str, list[Match]] = {}
        self.entries: list[Match] = []
        for owner, entries in keys:
            for entry in entries:
                if "record" in entry:
                    local_name(entry["file"], f"key of {owner}")
                    self.entries.append((owner, entry))
                    self.marked.setdefault(entry["record"]["marked"], []).append((owner, entry))
                    self.original.setdefault(entry["record"]["original"], []).append((owner, entry))

    def find(self, picture: Picture, names: Iterable[str]) -> tuple[str, str, dict[str, Any] | None]:
        """What a picture is.

        Args:
            picture: as it was found.
            names: what it is called, see :func:`names_of`.

        Returns:
            Its state, the owner, and the entry of the key: ``"untouched"`` (marked, as published), ``"moved"`` (the same under
            another name), ``"altered"`` (looks like one of the key, but has other pixels), ``"original"`` (its mark is off), or
            ``"unknown"``.
        """
        names = {normal(name) for name in names}
        print_ = fingerprint(picture.pixels)
        if print_ in self.marked:
            matches = self.marked[print_]
            at_home = [match for match in matches if normal(match[1]["file"]) in names]
            return ("untouched", *at_home[0]) if at_home else ("moved", *matches[0])
        if print_ in self.original:
            return ("original", *self.original[print_][0])
        look = look_of(picture)
        if not FEATURES <= int(look, 16).bit_count() <= BITS - FEATURES:
            return "unknown", "", None
        for owner, entry in self.entries:
            if distance(look, entry["look"]) <= (NAMESAKE if normal(entry["file"]) in names else NEAR):
                return "altered", owner, entry
        return "unknown", "", None

    def claims(self, picture: Picture) -> list[str]:
        """The names under which exactly this picture was published."""
        return [entry["file"] for _, entry in self.marked.get(fingerprint(picture.pixels), [])]


def normal(name: str) -> str:
    """A name in one Unicode form, as file systems and archives change it."""
    return unicodedata.normalize("NFC", name)


def names_of(folder: ImageFolder, item: Item) -> set[str]:
    """What an image may be called in the key: its name in the folder, or, when that is a part of the set, with the folders around it."""
    inner = item.image.relative_to(folder.path).parts
    whole = (*folder.path.resolve().parts[1:], *inner)
    return {normal("/".join(whole[-n:])) for n in range(len(inner), len(whole) + 1)}


def true_names(folder: ImageFolder, items: list[Item], keys: Keyring) -> tuple[dict[Path, str], dict[Path, str]]:
    """The names that images had when they were marked, whatever they are called now.

    Returns:
        The true name of each marked image, given once; and of each that is a copy of another one, the name it would have.
    """
    claims: list[tuple[bool, Path, str]] = []
    for item in items:
        try:
            known = keys.claims(read(item.image))
        except InputError:
            continue  # whoever lifts the marks says so
        called = names_of(folder, item)
        claims += [(normal(name) not in called, item.image, name) for name in known]
    names: dict[Path, str] = {}
    for _, image, name in sorted(claims, key=lambda claim: claim[0]):  # an image at its place comes before its copies
        if image not in names and name not in names.values():
            names[image] = name
    return names, {image: name for _, image, name in claims if image not in names}


@frozen
class Lifting:
    """The task of :func:`unlock_file`; its units are ``(item, draft)``."""

    folder: ImageFolder
    keys: Keyring
    names: dict[Path, str]
    copies: dict[Path, Path]

    def open(self, place: Place) -> Callable[[tuple[Item, Path]], dict[str, Any]]:
        """The work."""
        return self._lift

    def _lift(self, payload: tuple[Item, Path]) -> dict[str, Any]:
        item, draft = payload
        if item.image in self.copies:
            raise KeyFileError(f"{item.image}: is a copy of {self.copies[item.image]}, which is here as well.")
        called = {self.names[item.image]} if item.image in self.names else names_of(self.folder, item)
        unlock_file(item.image, draft, self.keys, called)
        return {}


@frozen
class Looking:
    """The task of telling what images are; its units are items, its values (state, owner, name in the key)."""

    folder: ImageFolder
    keys: Keyring

    def open(self, place: Place) -> Callable[[Item], tuple[str, str, str]]:
        """The work."""
        return self._look

    def _look(self, item: Item) -> tuple[str, str, str]:
        try:
            state, owner, entry = self.keys.find(read(item.image), names_of(self.folder, item))
        except InputError:
            return "unreadable", "", ""
        return state, owner, entry["file"] if state in ("untouched", "moved") else ""


def unlock_file(path: Path, draft: Path, keys: Keyring, names: Iterable[str]) -> None:
    """Lift the mark of one image, and write the original in its own format, depth and tags.

    Args:
        path: the marked image.
        draft: where the original is written before it is kept.
        keys: what lifts it.
        names: what the image may be called in the key.

    Raises:
        InputError: when it cannot be read.
        KeyFileError: when it is not in the key, was altered or moved, or is not marked any more.
        VerificationError: when the written file does not hold the original; it must not be kept then.
    """
    picture = read(path)
    state, _, entry = keys.find(picture, names)
    if state == "unknown":
        raise KeyFileError(f"{path}: is not in the key.")
    if state == "original":
        raise KeyFileError(f"{path}: carries no mark; it is the original already.")
    if state == "altered":
        raise KeyFileError(
            f"{path}: was altered or encoded anew after it was marked, so its original cannot be restored from it."
        )
    if state == "moved":
        raise KeyFileError(f"{path}: was moved; it is {entry['file']}. Write it under that name with --restore-names.")
    restored = unmarked(picture, entry)
    restored.save(draft, overwrite=True)
    if fingerprint(read(draft).pixels) != entry["record"]["original"]:
        raise VerificationError(f"{path}: what was written does not hold its original, so it was left out.")


def unmarked(picture: Picture, entry: dict[str, Any]) -> Picture:
    """A picture without its mark, and with the tags it had."""
    restored = evolve(picture, pixels=use_record(picture.pixels, entry["record"]), changed=True)
    if "header" in entry:
        from privmed.imaging.dicom_writing import with_header

        restored = with_header(restored, entry["header"])
    return restored


def look_of(picture: Picture) -> str:
    """A difference hash of 256 bits: near for the same picture in another encoding."""
    return look(picture.tensor())


def look(image: Tensor) -> str:
    """The same of an image, (1, C, H, W) in [0, 1]."""
    seen = (image[0].mean(0) * 255).round().byte().numpy()
    small = np.asarray(Image.fromarray(seen).resize((17, 16), Image.Resampling.BOX), np.int64)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def distance(a: str, b: str) -> int:
    """In how many bits two looks differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()
