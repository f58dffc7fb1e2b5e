"""The fitting loop of trainings, exploiters and the fits of protectors: turns, checkpoints, exact resume, guarded steps::

    reset(network, lambda: Network(config), config.seed)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    loop = Loop(config.epochs, {"network": network, "optimizer": optimizer}, fitting)
    for epoch in loop:
        for images, truth in batches(epoch):
            optimizer_step(task_loss(network(images), truth).mean(), optimizer)
        loop.keep()
        loop.report("surrogate", score=score)

A turn is whatever one goes on from: a step, an epoch, a round of two players. It draws from its number and a seed, or from torch's global
generator, whose state is part of a checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from privmed.errors import TrainingError, WeightsError
from privmed.interfaces.fitting import Fitting

FIELDS = {"done", "stopped", "parts", "notes", "draws"}  # of the state of a loop


class Stateful(Protocol):
    """What a checkpoint can hold: networks, optimizers, averages, guards."""

    def state_dict(self) -> Mapping[str, Any]:
        """Plain data and tensors."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Undo :meth:`state_dict`."""


class Loop:
    """The turns of a fit that are still to do; goes on from the checkpoint of an interrupted run, if there is one.

    Args:
        total: turns in all.
        parts: all that a turn changes, by name.
        fitting: who is told how far it is, and where checkpoints go.

    Attributes:
        done: turns done; in the body of the loop, the present one included.
        notes: plain data that a checkpoint holds besides.

    Raises:
        WeightsError: when the checkpoint cannot be gone on with.
    """

    def __init__(self, total: int, parts: Mapping[str, Stateful], fitting: Fitting | None = None) -> None:
        self.total, self.parts, self.fitting = total, dict(parts), fitting or Fitting()
        self.done, self.stopped = 0, False
        self.notes: dict[str, Any] = {}
        if (state := self.fitting.restore()) is not None:
            if (
                not isinstance(state, dict)
                or state.keys() != self.state().keys()
                or state["parts"].keys() != parts.keys()
            ):
                raise WeightsError(self.fitting.of_another_version())
            self.restore(state)

    def __iter__(self) -> Iterator[int]:
        while self.done < self.total and not self.stopped:
            self.done += 1
            yield self.done - 1

    def stop(self) -> None:
        """Let the present turn be the last; so it stays after a resume."""
        self.stopped = True

    def keep(self) -> None:
        """Write a checkpoint; call it at the end of a turn."""
        self.fitting.keep(self.state())

    def report(self, stage: str, **figures: float) -> None:
        """Say how far the loop is."""
        self.fitting.tell(stage, self.done, self.total, **figures)

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs; its tensors are those in use, not copies."""
        return {
            "done": self.done,
            "stopped": self.stopped,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "notes": self.notes,
            "draws": draws(),
        }

    def snapshot(self) -> dict[str, Any]:
        """A copy of :meth:`state`, to go back to."""
        return copy.deepcopy(self.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Go back, or on, to where a state was taken; the state stays as it is."""
        state = copy.deepcopy(state)  # optimizers keep the tensors they are given
        self.done, self.stopped, self.notes = state["done"], state["stopped"], state["notes"]
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        set_draws(state["draws"])


def draws() -> dict[str, Any]:
    """The state of torch's global generators."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_draws(state: dict[str, Any]) -> None:
    """Undo :func:`draws`, on as many devices as there are."""
    torch.set_rng_state(state["cpu"])
    for device, one in zip(range(torch.cuda.device_count()), state["cuda"]):
        torch.cuda.set_rng_state(one, device)


def reset(module: nn.Module, make: Callable[[], nn.Module], seed: int) -> None:
    """Give a module what a new one, made after this seed, begins with."""
    torch.manual_seed(seed)
    module.load_state_dict(make().state_dict())


def try_step(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    clip: float,
    parameters: Sequence[Tensor] | None = None,
    share: Callable[[Sequence[Tensor]], None] = lambda _: None,
) -> bool:
    """One optimizer step down a loss; False, with nothing moved, where the loss or its gradient is not finite.

    Args:
        loss: what goes down.
        optimizer: of the parameters that move.
        clip: largest norm of their gradients together.
        parameters: these parameters, in the order in which their norm is added up; as the optimizer has them by default.
        share: changes their gradients before they are clipped, as a team of processes does.
    """
    if not math.isfinite(float(loss.detach())):
        return False
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    moved = parameters or [p for group in optimizer.param_groups for p in group["params"]]
    share(moved)
    if not torch.isfinite(nn.utils.clip_grad_norm_(moved, clip)):
        return False
    optimizer.step()
    return True


def optimizer_step(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    clip: float = 5.0,
    *,
    what: str = "the surrogate",
    remedy: str = "Lower its learning rate with --set learning_rate=...",
) -> None:
    """One optimizer step down a loss.

    Args:
        loss: what goes down.
        optimizer: of the parameters that move.
        clip: largest norm of their gradients together.
        what: what is fitted, for the message.
        remedy: what to change, for the message.

    Raises:
        TrainingError: when the loss or its gradient is not finite.
    """
    if not try_step(loss, optimizer, clip):
        raise TrainingError(f"{what} diverged (its loss or the gradient is not finite). {remedy}, and start afresh.")


def running_average(module: nn.Module, decay: float) -> AveragedModel:
    """Running average of everything in a module, warmed up from a plain mean; its initial state is the first that counts."""

    def take_in(averaged: Sequence[Tensor], present: Sequence[Tensor], updates: Tensor) -> None:
        weight = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        for old, new in zip(averaged, present):
            old.lerp_(new, weight) if old.is_floating_point() else old.copy_(new)

    average = AveragedModel(module, multi_avg_fn=take_in, use_buffers=True)
    average.n_averaged.fill_(1)
    return average


@contextmanager
def averaged(module: nn.Module, average: AveragedModel) -> Iterator[None]:
    """Let a module hold its average for a while, in evaluation mode."""
    present = {name: value.detach().clone() for name, value in module.state_dict().items()}
    module.load_state_dict(average.module.state_dict())
    module.eval()
    try:
        yield
    finally:
        module.load_state_dict(present)
        module.train()
