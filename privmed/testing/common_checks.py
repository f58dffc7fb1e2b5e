"""Checks that hold for every method, whatever its interface, beside those of settings."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch

from privmed import weights
from privmed.errors import WeightsError
from privmed.interfaces import Method


def check_deepcopy_is_equal(method: Method) -> None:
    """A deep copy has the same settings and the same state."""
    twin = copy.deepcopy(method)
    assert twin.config == method.config
    _assert_same_state(method, twin)


def check_state_dict_restores(method: Method) -> None:
    """state_dict() of one method loads into another of the same settings, with nothing left over."""
    twin = type(method)(method.config)
    twin.load_state_dict(method.state_dict())
    _assert_same_state(method, twin)


def check_weights_file_restores(method: Method) -> None:
    """Weights written by privmed.weights.save load into a method of the same settings, in half precision."""
    if not method.state_dict():
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.safetensors"
        weights.save(method, path)
        twin = type(method)(method.config)
        weights.load_into(twin, path, weights.read_card(path, type(method)))
    for name, value in method.state_dict().items():
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(twin.state_dict()[name], expected), f"{name} came back different"


def check_damaged_weights_are_refused(method: Method) -> None:
    """A weights file with a flipped bit, or cut off, is refused with a WeightsError and changes nothing."""
    if not method.state_dict():
        return
    before = copy.deepcopy(method.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.safetensors"
        card = weights.save(method, path)
        whole = path.read_bytes()
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            try:
                weights.load_into(method, path, card)
            except WeightsError:
                continue
            raise AssertionError("a damaged weights file was accepted")
    assert all(torch.equal(before[k], v) for k, v in method.state_dict().items()), "a refused file changed the method"


def _assert_same_state(a: Method, b: Method) -> None:
    mine, theirs = a.state_dict(), b.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(v, theirs[k]) for k, v in mine.items())
