"""Which engine runs a job: ``local``, ``processes`` or ``ray``."""

from __future__ import annotations

from privmed.errors import SettingsError, did_you_mean
from privmed.jobs.contracts import Executor
from privmed.jobs.local import Local

ENGINES = ("local", "processes", "ray")


def make_executor(
    engine: str | None = None, workers: str | None = None, *, device: str = "cpu", address: str | None = None
) -> Executor:
    """An executor as the command line names it.

    Args:
        engine: one of ``ENGINES``; by default ``processes`` where ``workers`` are given, else ``local``.
        workers: how many, or ``auto``: one a processor, or one a device where networks compute on those.
        device: where networks compute.
        address: of a Ray cluster; ``RAY_ADDRESS`` by default, else one is started on this machine.

    Raises:
        SettingsError: for an engine that does not exist, and options that do not fit it.
        MissingDependencyError: for ``ray`` where it is not installed.
    """
    engine = engine or ("local" if workers is None else "processes")
    if engine not in ENGINES:
        raise SettingsError(f"--engine {engine!r}: expected {', '.join(ENGINES)}.{did_you_mean(engine, ENGINES)}")
    count = _count(workers)
    if address is not None and engine != "ray":
        raise SettingsError(f"--address: is of a Ray cluster, and the engine is {engine}. Give --engine ray.")
    if engine == "local":
        if count not in (None, 1):
            raise SettingsError(f"--workers {workers}: the engine local is one process. Give --engine processes.")
        return Local()
    if engine == "ray":
        from privmed.jobs.actors import RayActors

        return RayActors(count, device=device, address=address)
    from privmed.jobs.pool import Processes, cores, threads_of_worker

    devices = devices_of(device)
    return Processes(count or len(devices) or max(1, cores() // threads_of_worker()), devices)


def devices_of(device: str) -> list[str]:
    """The devices that workers are spread over: all of them for ``cuda``, none for the CPU, where they share processors."""
    if device == "cuda":
        import torch

        return [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return [] if device == "cpu" else [device]


def _count(workers: str | None) -> int | None:
    if workers in (None, "auto"):
        return None
    if not workers.isdigit() or int(workers) < 1:
        raise SettingsError(f"--workers {workers!r}: expected a number from 1, or auto.")
    return int(workers)
