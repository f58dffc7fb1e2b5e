"""What the four interfaces share: settings, precision, device, weights card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor, nn

from privmed.errors import InputError, SettingsError
from privmed.interfaces.configs import MethodConfig
from privmed.precision import PRECISIONS, subnet_precision


class Method(nn.Module):
    """Base of every method: an ``nn.Module`` with a name, frozen settings and (maybe) a weights card.

    Attributes:
        kind: the interface, ``"hider"``, ``"analyzer"``, ``"protector"`` or ``"watermarker"``.
        name: the method's name, equal to the left side of its entry point.
        Config: attrs class of its settings, each with a default; none by default.
        default_weights: which bundled weights ``privmed.hider(name)`` loads; None for a method that needs none.
        check_settings: settings with which the conformance kit runs it in seconds.
        expected_failures: checks of the kit that it cannot pass, each with the reason.
        multiple: sides are reflect-padded to a multiple of this before the private methods run.
        config: the settings in use.
        card: the model card of the weights in use, or None for random weights.
        source: the file of the weights in use, or None.
        precision: ``"auto"``, ``"float32"`` or ``"bf16"``: what sub-networks run in (see :mod:`privmed.precision`).

    Example:
        >>> import privmed
        >>> method = privmed.hider("lightih", weights="general")
        >>> method.kind, method.name, method.card["method"], method.device.type
        ('hider', 'lightih', 'hider:lightih', 'cpu')
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    Config: ClassVar[type] = MethodConfig
    default_weights: ClassVar[str | None] = None
    check_settings: ClassVar[dict[str, Any]] = {}
    expected_failures: ClassVar[dict[str, str]] = {}
    multiple: int = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        config = type(self).Config() if config is None else config
        if not isinstance(config, type(self).Config):
            raise SettingsError(
                f"{self.name}: expected settings of class {type(self).Config.__name__}, got {type(config).__name__}."
            )
        self.config = config
        self.card: dict[str, Any] | None = None
        self.source: Path | None = None
        self.precision = "auto"
        self.training = False  # train() lets gradients reach the parameters; nobody trains a method by making one

    @property
    def device(self) -> torch.device:
        """Where the parameters live (the CPU for a method without any)."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def subnets(self) -> Any:
        """Context for the convolutions of a sub-network: bfloat16 where ``precision`` says so, else float32.

        Raises:
            SettingsError: when ``precision`` is none of its three values.
        """
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        return subnet_precision(self.precision, self.device)

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in attrs.asdict(self.config).items())

    @contextmanager
    def _at_work(self, *inputs: Tensor) -> Iterator[None]:
        """Record gradients in training mode, and where a caller hands in a tensor that requires them; else not."""
        wanted = torch.is_grad_enabled() and (self.training or any(x.requires_grad for x in inputs))
        with torch.set_grad_enabled(wanted):
            yield

    def _check_output(self, x: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
        """Hold what a plugin returned against the contract, so that its users need not."""
        if not isinstance(x, Tensor) or tuple(x.shape) != tuple(shape):
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{self.kind} {self.name!r} broke its contract: {what} must be {tuple(shape)}, got {got}.")
        return x.float()
