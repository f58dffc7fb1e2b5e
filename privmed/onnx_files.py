"""What an ONNX file wants to read besides itself: its external data, which has to lie in its own folder.

The file is walked as protocol buffers, without the package onnx; the field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from privmed.errors import WeightsError
from privmed.limits import check_file, read_bytes

WITHIN = {  # message: fields that hold messages, and of which kind
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
DEEPEST = 100  # subgraphs in subgraphs


def check_external_data(path: Path) -> None:
    """Refuse an ONNX file whose tensors lie outside its folder, links included, or in anything but a regular file.

    Raises:
        WeightsError: for such a file, and one that is damaged.
    """
    folder = path.resolve().parent
    try:
        names = set(_locations(memoryview(read_bytes(path, error=WeightsError, name=f"model {path}")), "model", 0))
    except (IndexError, UnicodeDecodeError) as error:
        raise WeightsError(f"model {path}: is no ONNX file, or damaged.") from error
    for name in sorted(names):
        target = (folder / name).resolve()
        if not target.is_relative_to(folder):
            raise WeightsError(f"model {path}: wants to read {name!r}, which is not in its folder. Do not use it.")
        if target.exists():  # of a missing one, onnxruntime says so
            check_file(target, error=WeightsError, name=f"model {path}: its data {name}")


def _locations(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """The ``location`` of every tensor that lies elsewhere."""
    if depth > DEEPEST:
        raise IndexError("nested too deeply")
    if message == "entry":
        pair = {number: bytes(value).decode() for number, value in _fields(data)}
        if pair.get(1) == "location":
            yield pair.get(2, "")
        return
    for number, value in _fields(data):
        if number in WITHIN[message]:
            yield from _locations(value, WITHIN[message][number], depth + 1)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields of a message that have a length."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise IndexError("cut off")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise IndexError("no protocol buffer")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise IndexError("no protocol buffer")
