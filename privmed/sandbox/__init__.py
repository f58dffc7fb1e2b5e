"""Models that are programs (TorchScript, ``torch.export``), run in a process of their own that gets tensors and nothing else.

The model's bytes and then batches go to :mod:`privmed.sandbox.child` over a pipe, plain numbers come back: no pickle in either
direction, no path, no environment, an empty folder to work in. On Linux with Landlock it can neither read the user's files nor write any.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

import privmed
from privmed.errors import PrivmedError
from privmed.limits import limits, variable

PASSED_ON = (
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "SYSTEMROOT",
)  # nothing that says what is worked on
LARGEST_ANSWER = 2**24  # numbers


class ModelProcessError(PrivmedError):
    """A model's process failed, died or took too long; the message says which, and the caller adds the model's name."""


class SeparateModel:
    """A TorchScript or ``torch.export`` model in a process of its own: from prepared images to what it answers.

    The process ends with this object, and with the process that made it, however that ends.

    Args:
        data: what lies in the model file.
        kind: ``".pt"`` or ``".pt2"``.
        device: where it computes.

    Raises:
        ModelProcessError: when it is no such model, or its process dies or takes too long.
    """

    def __init__(self, data: bytes, kind: str, device: str = "cpu") -> None:
        scratch = tempfile.TemporaryDirectory(prefix="privmed-model-")
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch.name,
            env=_environment(scratch.name),
            start_new_session=True,  # Ctrl-C is for us; the model goes when we go
        )
        self.close = weakref.finalize(self, _end, self.process, scratch)
        packages = sorted({str(Path(m.__file__).parents[1]) for m in (torch, np, privmed)})
        about = json.dumps({"kind": kind, "device": str(device), "packages": packages, "parent": os.getpid()}).encode()
        try:
            self._ask(b"".join(struct.pack("<Q", len(part)) + part for part in (about, data)))
        except ModelProcessError:
            self.close()
            raise

    def __call__(self, images: Tensor) -> Tensor:
        """What the model answers for prepared images (N, C, H, W), as float32.

        Raises:
            ModelProcessError: when it fails, or its process dies or takes too long.
        """
        values = np.ascontiguousarray(images.detach().float().cpu().numpy(), dtype="<f4")
        return self._ask(struct.pack("<4Q", *values.shape) + values.tobytes())

    def _ask(self, message: bytes) -> Tensor:
        late, process, seconds = threading.Event(), self.process, limits().model_seconds
        timer = threading.Timer(seconds, lambda: (late.set(), process.kill()))
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(message)
            self.process.stdin.flush()
            return _answer(self.process.stdout)
        except (OSError, EOFError, ValueError) as error:
            self.process.kill()
            code = self.process.wait()
            if late.is_set():
                raise ModelProcessError(
                    f"its process took more than {seconds} seconds and was ended; {variable('model_seconds')} allows more"
                ) from error
            raise ModelProcessError(f"its process ended ({_how(code, error)})") from error
        finally:
            timer.cancel()


def _environment(scratch: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**kept, "PATH": os.defpath, "LANG": "C.UTF-8", "HOME": scratch, "TMPDIR": scratch, "TEMP": scratch}


def _answer(pipe: IO[bytes]) -> Tensor:
    """Read one answer of the child, which is not believed: only so many numbers, and nothing that could run."""
    (failed,) = struct.unpack("<?", _exactly(pipe, 1))
    if failed:
        (length,) = struct.unpack("<I", _exactly(pipe, 4))
        words = _exactly(pipe, min(length, 4096)).decode("utf-8", "replace")
        raise ModelProcessError("".join(c if c.isprintable() else " " for c in words))
    (dimensions,) = struct.unpack("<B", _exactly(pipe, 1))
    shape = struct.unpack(f"<{dimensions}Q", _exactly(pipe, 8 * dimensions))
    if prod(shape) > LARGEST_ANSWER:
        raise ValueError(f"it answers with shape {shape}")
    values = np.frombuffer(_exactly(pipe, 4 * prod(shape)), "<f4").reshape(shape)
    return torch.from_numpy(values.astype(np.float32))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _how(code: int, error: Exception) -> str:
    """Why a process is gone."""
    if isinstance(error, ValueError):
        return str(error)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end(process: subprocess.Popen, scratch: tempfile.TemporaryDirectory) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not written any more
            pipe.close()
    scratch.cleanup()
