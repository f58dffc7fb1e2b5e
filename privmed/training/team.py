"""Training on several devices at once, as one training: the processes of a team draw the same batch, each computes the loss of its own part
of it, and all take the same step with the mean of their gradients.

Processes, devices and communication are lightning-fabric's (extra ``privmed[fabric]``).
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from privmed import errors
from privmed.errors import MissingDependencyError, PrivmedError, SettingsError, TrainingError

T = TypeVar("T")
TORCHRUN, SRUN = "TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"  # set by what starts the processes of a team itself
RANKS = ("RANK", "SLURM_PROCID")  # which of them this one is

# What Fabric announces about its processes is of no use here. At import, as each process says it before it gets to any function of ours.
for name in ("distributed", "rank_zero"):
    logging.getLogger(f"lightning_fabric.utilities.{name}").setLevel(logging.WARNING)


class Team:
    """A team of one: what training on one device needs.

    Attributes:
        rank: which of the processes this one is, from 0.
        size: how many there are.
    """

    rank, size = 0, 1

    @property
    def first(self) -> bool:
        """Whether this process writes what the team has to show."""
        return self.rank == 0

    def part(self, batch: T) -> T:
        """The part of a batch (tensor or list) that this process computes; the team's parts are equally large."""
        count = len(batch) // self.size
        return batch[self.rank * count : (self.rank + 1) * count] if self.size > 1 else batch

    def mean(self, value: float) -> float:
        """The mean of a number over the team."""
        return value

    def share_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of parameters by their mean over the team."""

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors by their mean over the team."""


class FabricTeam(Team):
    """A team whose processes lightning-fabric has started."""

    def __init__(self, fabric: Any) -> None:
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def mean(self, value: float) -> float:
        return float(self._mean(torch.tensor([value], dtype=torch.float64, device=self.fabric.device)))

    def share_gradients(self, parameters: Iterable[Tensor]) -> None:
        # A parameter that nobody's loss reached keeps no gradient, so that the optimizer leaves it alone, as on one device.
        parameters = [p for p in parameters if p.requires_grad]
        reached = torch.tensor([float(p.grad is not None) for p in parameters], device=self.fabric.device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        *means, reached = self._means([*grads, reached])
        for parameter, mean, count in zip(parameters, means, reached.tolist()):
            parameter.grad = mean if count > 0 else None

    def share(self, tensors: Iterable[Tensor]) -> None:
        tensors = [t for t in tensors if t.is_floating_point()]
        with torch.no_grad():
            for tensor, mean in zip(tensors, self._means(tensors)):
                tensor.copy_(mean)

    def _means(self, tensors: list[Tensor]) -> list[Tensor]:
        """Means over the team, in the shapes and layouts of the tensors."""
        if not tensors:
            return []
        flat = self._mean(torch.cat([t.detach().float().flatten() for t in tensors]))
        parts = flat.split([t.numel() for t in tensors])
        return [torch.empty_like(t).copy_(part.view(t.shape)) for t, part in zip(tensors, parts)]

    def _mean(self, tensor: Tensor) -> Tensor:
        return self.fabric.all_reduce(tensor, reduce_op="mean")


def started_outside() -> int:
    """How many processes torchrun or ``srun`` has started, of which this is one; 1 where none of them has."""
    if TORCHRUN in os.environ:
        return int(os.environ.get("WORLD_SIZE", 1))
    return int(os.environ.get(SRUN, 1))  # of the step; tasks of a job that srun has not started are none yet


def speaks(devices: int, nodes: int) -> bool:
    """Whether this process is the one of its team, if it is in one, that tells people how it went."""
    if devices * nodes == 1 or started_outside() == 1:
        return True
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def check(batch: int, devices: int, nodes: int) -> None:
    """Refuse what a team cannot do.

    Raises:
        SettingsError: for fewer than one device, a batch that does not go into equal parts, or another number of processes than a launcher
            has started.
    """
    if devices < 1 or nodes < 1:
        raise SettingsError("devices and nodes are whole numbers from 1.")
    if batch % (devices * nodes):
        raise SettingsError(
            f"data.batch of {batch} does not go into {devices * nodes} equal parts, one a device. Take other --devices, or another "
            "data.batch."
        )
    there = started_outside()
    if devices * nodes == 1 and TORCHRUN not in os.environ:
        return  # tasks of Slurm may well be trainings of their own
    if there not in (1, devices * nodes):
        raise SettingsError(
            f"{there} processes were started, but {devices} devices on each of {nodes} nodes are {devices * nodes}. Make them equal "
            "(--devices, --nodes)."
        )


def together(work: Callable[[Team, str], T], *, device: str, devices: int, nodes: int = 1) -> T:
    """Do something in a team.

    Args:
        work: called in each of its processes with the team and the device; a function that can be pickled. Its errors are the same in all.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: processes on this machine, one a device.
        nodes: machines; more than one are started by torchrun or Slurm.

    Returns:
        What the first process returns.

    Raises:
        MissingDependencyError: without lightning-fabric.
        SettingsError: for devices that are not there.
        TrainingError: when a process of the team is killed.
        PrivmedError: what ``work`` raises.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import (
            LightningEnvironment,
            SLURMEnvironment,
            TorchElasticEnvironment,
        )
    except ImportError as error:
        raise MissingDependencyError("several devices need lightning-fabric: pip install 'privmed[fabric]'.") from error
    accelerator = _accelerator(device, devices)
    outside = started_outside() > 1
    if nodes > 1 and not outside:
        raise SettingsError("several nodes: start the command on each with torchrun, or on all of them with srun.")
    # Said outright: a job of Slurm in which nothing was started by srun would be taken for one.
    kind = (
        LightningEnvironment if not outside else TorchElasticEnvironment if TORCHRUN in os.environ else SLURMEnvironment
    )
    strategy = "ddp" if outside else "ddp_spawn"
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, plugins=[kind()])
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"this team cannot be started: {' '.join(str(error).split())}") from error
    with tempfile.TemporaryDirectory(prefix="privmed-team-") as notes:
        try:
            return fabric.launch(_member, work, notes)
        except PrivmedError:
            raise
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException) as error:
            for note in sorted(Path(notes).glob("*.json")):
                raise _read(note) from error
            if isinstance(error, torch.multiprocessing.ProcessExitedException):
                raise TrainingError(
                    "a process of the training was killed, perhaps for want of memory. Go on with --resume from the last checkpoint, "
                    "with fewer --devices or a smaller data.batch."
                ) from error
            raise


def _accelerator(device: str, devices: int) -> str:
    """Which devices: all of one kind.

    Raises:
        SettingsError: when there are too few of them.
    """
    kind = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise SettingsError(f"device {device!r}: several devices are all cpu or all cuda.")
    there = torch.cuda.device_count() if kind == "cuda" else devices
    if devices > there:
        raise SettingsError(f"devices: {devices} are asked for, and {there} are there.")
    return kind


def _member(fabric: Any, work: Callable[[Team, str], T], notes: str) -> T:
    """One process of a team; what it raises on purpose is left in a file for the command, which gets a text from it otherwise."""
    try:
        return work(FabricTeam(fabric), str(fabric.device))
    except PrivmedError as error:
        note = {"error": type(error).__name__, "text": str(error)}
        (Path(notes) / f"{fabric.global_rank:05}.json").write_text(json.dumps(note), encoding="utf-8")
        raise


def _read(note: Path) -> PrivmedError:
    """The error that a process left."""
    told = json.loads(note.read_text(encoding="utf-8"))
    kind = getattr(errors, told["error"], TrainingError)
    error = kind.__new__(kind)  # some errors are built from other things than their text
    Exception.__init__(error, told["text"])
    return error
