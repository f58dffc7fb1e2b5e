"""Tables of what a script measures: speed, cost, training curves. The engine shows them; the script under ``benchmarks/`` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from privmed import hookimpl
from privmed.bench.contracts import Cell, Quantity, Suite, Value
from privmed.bench.costs import COSTS
from privmed.errors import SettingsError


class Script(Suite):
    """What ``benchmarks/*.py`` write as records."""

    name = "script"
    methods = "hider"
    quantities = {  # noqa: RUF012
        "time": Quantity(title="time", better="lower"),
        "speedup": Quantity(title="speedup", unit="x"),
        "rate": Quantity(title="items a second"),
        "peak-memory": Quantity(title="peak memory", unit="MB", better="lower"),
        "parameters": Quantity(title="parameters", unit="M", better="lower"),
        **{name: COSTS[name] for name in ("macs", "tensors")},
        "memory-ratio": Quantity(title="ratio of peak memory", better="lower"),
        "rate-share": Quantity(title="share of the machine's own rate"),
        "queries": Quantity(title="distinct queries", better="lower"),
        "accuracy": Quantity(title="accuracy", better="lower", share=True),
        "psnr-under": Quantity(title="PSNR under the mark", unit="dB", better="lower"),
        "recovered-psnr": Quantity(title="recovered PSNR", unit="dB"),
        "stego-psnr": Quantity(title="stego PSNR", unit="dB"),
        "response-psnr": Quantity(title="response PSNR", unit="dB"),
    }

    def cells(self) -> Iterator[Cell]:
        raise SettingsError(f"{self.context.plan.name}: its records come from a script under benchmarks/; run that.")

    def identity(self, cell: Cell) -> dict[str, Any]:
        return {}

    def measure(self, cell: Cell) -> list[Value]:
        return []


@hookimpl
def privmed_register(register):
    register(Script)
