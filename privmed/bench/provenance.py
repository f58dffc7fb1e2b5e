"""Where this run's figures come from: command, commit, versions, machine."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from privmed.bench.records import Provenance


def origin() -> dict[str, Any]:
    """What a run keeps of the process that made it: a later process may gather it."""
    now = provenance()
    return {name: getattr(now, name) for name in ("command", "commit", "date", "device", "threads", "versions")}


def provenance(data: dict[str, str] | None = None, weights: dict[str, str] | None = None) -> Provenance:
    """Describe this run."""
    import torch

    import privmed

    return Provenance(
        command=command(),
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        device=device_name(),
        threads=torch.get_num_threads(),
        versions={"privmed": privmed.__version__, "python": platform.python_version(), "torch": torch.__version__},
        data=data or {},
        weights=weights or {},
    )


def command() -> str:
    """The command line without the paths of this machine, as a shell takes it."""
    program = Path(sys.argv[0]).name if sys.argv[0] else "python"
    if program.endswith(".py"):
        near = os.path.relpath(sys.argv[0])
        program = f"python {near if not near.startswith('..') else program}"
    words, before = [], ""
    for word in sys.argv[1:]:
        if os.path.isabs(word) or word.startswith(".."):
            words.append("OUT" if before in ("-o", "--out", "--output") else Path(word).name.upper())
        else:
            words.append(shlex.quote(word))
        before = word
    return " ".join([program, *words])


@functools.cache
def commit() -> str:
    """The commit of this tree, marked when it has changes; results that runs wrote are none."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name() -> str:
    """The processor, and the accelerator if torch sees one."""
    import torch

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{gpu}"
