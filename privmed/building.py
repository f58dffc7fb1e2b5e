"""Networks are built within limits: a card or a recipe that asks for a billion blocks is refused while they are counted.

What a network will hold cannot be read off its settings, which are each method's own. So every parameter and buffer is counted as it is
registered, and a single tensor that would be too large is refused before it is allocated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from attrs import frozen
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from privmed.errors import SettingsError, WeightsError
from privmed.limits import check_file, limits, raise_it

T = TypeVar("T")
ALLOCATING = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)
SLACK = 2  # a network may be this many times larger than its file: some register what they do not save, or twice
SLACK_TENSORS, SLACK_PARAMETERS = 1000, 10_000_000  # and by this much beside


@frozen
class Size:
    """How many tensors there are, and how many numbers in them."""

    tensors: int
    parameters: int


def size_of(path: Path) -> Size:
    """What a safetensors file holds, by its header.

    Raises:
        WeightsError: when it is missing, too large, or no whole safetensors file.
    """
    try:
        check_file(path, error=WeightsError, name=f"weights {path}")
        with safe_open(path, "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error.strerror or error}).") from error
    except SafetensorError as error:
        raise WeightsError(f"weights {path}: not a whole safetensors file ({error}).") from error
    return Size(len(shapes), sum(torch.Size(shape).numel() for shape in shapes))


def build(make: Callable[[], T], name: str, weights: Path | None = None) -> T:
    """Build a network, and stop as soon as it becomes larger than allowed.

    Args:
        make: builds it.
        name: what it is called in messages.
        weights: the safetensors file that goes into it; it may not become much larger than what that holds.

    Raises:
        SettingsError: when it exceeds the limits of :mod:`privmed.limits`.
        WeightsError: when it exceeds what the file holds.
        Exception: whatever ``make`` raises.
    """
    with _Count(name, weights).watching():
        return make()


class _Count(TorchFunctionMode):
    """What has been registered so far, by this thread, and what is about to be allocated."""

    def __init__(self, name: str, weights: Path | None) -> None:
        super().__init__()
        self.name, self.weights = name, weights
        self.held = None if weights is None else size_of(weights)
        self.tensors = self.parameters = 0
        self.thread, self.limits = threading.get_ident(), limits()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what any module registers meanwhile."""
        hooks = [
            register_module_parameter_registration_hook(self._add),
            register_module_buffer_registration_hook(self._add),
        ]
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at how large a new tensor would be before it is made."""
        if func in ALLOCATING:
            size = (kwargs or {}).get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
            self._check(self.tensors + 1, self.parameters + prod(size))
        return func(*args, **(kwargs or {}))

    def _add(self, module: nn.Module, name: str, value: torch.Tensor | None) -> None:
        if value is not None and not nn.parameter.is_lazy(value) and threading.get_ident() == self.thread:
            self.tensors, self.parameters = self.tensors + 1, self.parameters + value.numel()
            self._check(self.tensors, self.parameters)

    def _check(self, tensors: int, parameters: int) -> None:
        held = self.held
        if held is not None and (
            tensors > SLACK * held.tensors + SLACK_TENSORS or parameters > SLACK * held.parameters + SLACK_PARAMETERS
        ):
            raise WeightsError(
                f"weights {self.weights}: hold {held.tensors:,} tensors of {held.parameters:,} numbers, and their settings describe a "
                f"far larger {self.name}. The card is damaged or was altered."
            )
        for limit, count in (("tensors", tensors), ("parameters", parameters)):
            if count > getattr(self.limits, limit):
                raise SettingsError(
                    f"{self.name}: with these settings it has {count:,} {limit} or more, {raise_it(limit)}"
                )
