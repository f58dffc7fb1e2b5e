"""What a step costs: multiply-accumulates of its networks, memory of its tensors, and time."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from privmed.bench.contracts import Quantity, Value

TURNS = 3  # of which the median is the time
COSTS = {
    "macs": Quantity(title="multiply-accumulates", unit="G", better="lower"),
    "tensors": Quantity(title="peak memory of tensors", unit="MB", better="lower"),
    "time": Quantity(title="time", unit="ms", better="lower"),
}


@frozen(kw_only=True)
class Cost:
    """Of one step.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products, as torch counts them.
        peak: most bytes in tensors that the step had made and not yet dropped; input and weights do not count, nor what an operation
            needs within.
        seconds: median of a few turns, after one that does not count.
    """

    macs: float
    peak: int
    seconds: float

    def values(self, **dimensions: Any) -> list[Value]:
        """The same as figures of a suite."""
        each = {"macs": self.macs / 1e9, "tensors": self.peak / 1e6, "time": 1e3 * self.seconds}
        return [Value(metric=k, value=v, dimensions=dimensions) for k, v in each.items()]


@torch.no_grad()
def cost(work: Callable[[], Any], device: str | torch.device = "cpu", turns: int = TURNS) -> Cost:
    """Do something a few times, and say what it costs.

    Args:
        work: the step, without gradients.
        device: where it computes; an accelerator is waited for.
        turns: how often it is timed; 0 for not at all.
    """
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    with FlopCounterMode(display=False) as counter:
        work()
    with Held() as held:
        work()
    seconds = []
    for _ in range(turns):
        wait()
        start = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - start)
    return Cost(macs=counter.get_total_flops() / 2, peak=held.peak, seconds=statistics.median(seconds or [0.0]))


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while anybody holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (place := x.untyped_storage())._cdata not in given:
                self._hold(place)
        return out

    def _hold(self, place: torch.UntypedStorage) -> None:
        key, size = place._cdata, place.nbytes()
        if key in self._known:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def dropped(_: object) -> None:
            self.now -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(place, dropped)
