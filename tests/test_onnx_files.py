"""An ONNX file may name other files; they lie in its folder, or it is refused. Written by hand as protocol buffers, as in onnx.proto."""

from __future__ import annotations

import os

import pytest

from privmed.errors import WeightsError
from privmed.onnx_files import check_external_data


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def tensor(location: str) -> bytes:
    """A TensorProto whose values lie elsewhere."""
    entries = [field(1, b"location") + field(2, location.encode()), field(1, b"length") + field(2, b"16")]
    return varint(2 << 3) + varint(1) + b"".join(field(13, e) for e in entries) + varint(14 << 3) + varint(1)


def model(location: str, place: str = "initializer") -> bytes:
    """A ModelProto with such a tensor in one of the places where there can be one."""
    inside = {
        "initializer": field(5, tensor(location)),
        "attribute": field(1, field(5, field(1, b"value") + field(5, tensor(location)))),
        "subgraph": field(1, field(5, field(6, field(5, tensor(location))))),
        "sparse": field(15, field(1, tensor(location))),
    }
    if place == "function":
        return field(25, field(7, field(5, field(5, tensor(location)))))
    return varint(1 << 3) + varint(8) + field(7, inside[place])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/weights.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    os.mkfifo(folder / "pipe.bin")
    return folder


def written(folder, *args):
    (folder / "m.onnx").write_bytes(model(*args))
    return folder / "m.onnx"


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "sparse", "function"])
def test_data_outside_the_folder_is_refused_wherever_it_is_named(place, folder):
    check_external_data(written(folder, "sub/weights.bin", place))
    for name in ("../secret.bin", str(folder.parent / "secret.bin"), "link.bin", "sub/../../secret.bin"):
        with pytest.raises(WeightsError, match="which is not in its folder"):
            check_external_data(written(folder, name, place))


def test_data_in_a_pipe_is_refused(folder):
    with pytest.raises(WeightsError, match="is a named pipe"):
        check_external_data(written(folder, "pipe.bin"))


@pytest.mark.parametrize("data", [b"\xff" * 40, field(7, b"\x2a\x7f"), b"no protocol buffer"])
def test_damaged_files_are_told(data, folder):
    (folder / "m.onnx").write_bytes(data)
    with pytest.raises(WeightsError, match="is no ONNX file, or damaged"):
        check_external_data(folder / "m.onnx")


def test_rings_of_subgraphs_cannot_be_too_deep(folder):
    graph = field(5, tensor("x"))
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    (folder / "m.onnx").write_bytes(field(7, graph))
    with pytest.raises(WeightsError, match="damaged"):
        check_external_data(folder / "m.onnx")
