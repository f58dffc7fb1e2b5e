"""The other side of a watermarked data set: tell marked images apart, and lift their marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from PIL import Image

from privmed.errors import KeyFileError, VerificationError
from privmed.files import make_folder
from privmed.imaging import Picture, read
from privmed.imaging.record import fingerprint, use_record

BITS = 256
NEAR = 24  # of 256 bits of the difference hash: the same picture with a little drawn on it
NAMESAKE = (
    32  # with more drawn on it, if it also has the name; much farther, and strangers' chest X-rays would be as near
)
FEATURES = 32  # set and unset bits that a look needs; a black picture is near to every smooth one


class Keyring:
    """The entries of one or more keys, to be found by picture.

    Args:
        keys: name of each key (its owner, or its path) and its entries; one owner may have several.
    """

    def __init__(self, keys: list[tuple[str, list[dict[str, Any]]]]) -> None:
        self.marked: dict[str, tuple[str, dict[str, Any]]] = {}
        self.original: dict[str, tuple[str, dict[str, Any]]] = {}
        self.entries: list[tuple[str, dict[str, Any]]] = []
        for owner, entries in keys:
            for entry in entries:
                if "record" in entry:
                    self.entries.append((owner, entry))
                    self.marked[entry["record"]["marked"]] = (owner, entry)
                    self.original[entry["record"]["original"]] = (owner, entry)

    def find(self, picture: Picture, name: str) -> tuple[str, str, dict[str, Any] | None]:
        """What a picture is.

        Returns:
            Its state, the owner, and the entry of the key: ``"untouched"`` (marked, as published), ``"altered"`` (looks like
            one of the key, but has other pixels), ``"original"`` (its mark is off), or ``"unknown"``.
        """
        print_ = fingerprint(picture.pixels)
        for state, table in (("untouched", self.marked), ("original", self.original)):
            if print_ in table:
                return state, *table[print_]
        look = look_of(picture)
        if not FEATURES <= int(look, 16).bit_count() <= BITS - FEATURES:
            return "unknown", "", None
        for owner, entry in self.entries:
            if distance(look, entry["look"]) <= (NAMESAKE if entry["file"] == name else NEAR):
                return "altered", owner, entry
        return "unknown", "", None


def unlock_file(path: Path, target: Path, keys: Keyring, name: str) -> None:
    """Lift the mark of one image, and write the original in its own format, depth and tags.

    Raises:
        InputError: when it cannot be read.
        KeyFileError: when it is not in the key, was altered, or is not marked any more.
        VerificationError: when the written file does not hold the original; it is removed.
    """
    picture = read(path)
    state, _, entry = keys.find(picture, name)
    if state == "unknown":
        raise KeyFileError(f"{path}: is not in the key.")
    if state == "original":
        raise KeyFileError(f"{path}: carries no mark; it is the original already.")
    if state == "altered":
        raise KeyFileError(
            f"{path}: was altered or encoded anew after it was marked, so its original cannot be restored from it."
        )
    restored = unmarked(picture, entry)
    make_folder(target.parent)
    restored.save(target, overwrite=True)
    if fingerprint(read(target).pixels) != entry["record"]["original"]:
        target.unlink()
        raise VerificationError(f"{target}: does not hold the original, so it was removed.")


def unmarked(picture: Picture, entry: dict[str, Any]) -> Picture:
    """A picture without its mark, and with the tags it had."""
    restored = evolve(picture, pixels=use_record(picture.pixels, entry["record"]), changed=True)
    if "header" in entry:
        from privmed.imaging.dicom import with_header

        restored = with_header(restored, entry["header"])
    return restored


def look_of(picture: Picture) -> str:
    """A difference hash of 256 bits: near for the same picture in another encoding."""
    seen = (picture.tensor()[0].mean(0) * 255).round().byte().numpy()
    small = np.asarray(Image.fromarray(seen).resize((17, 16), Image.Resampling.BOX), np.int64)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def distance(a: str, b: str) -> int:
    """In how many bits two looks differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()
