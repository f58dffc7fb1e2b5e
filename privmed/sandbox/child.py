"""The process of one model: run as a script, it reads the model and then batches from its standard input, and writes what comes out.

The only place in privmed where a file may bring code of its own. Before the model is loaded, the process shuts itself in (:func:`shut_in`).
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any

LONGEST = 400  # bytes of an error


def load(data: bytes, kind: str, device: str) -> Callable[[Any], Any]:
    """Load a TorchScript or ``torch.export`` model; that may run whatever it brings."""
    import torch

    if kind == ".pt":
        return torch.jit.load(io.BytesIO(data), map_location=device).eval()
    return torch.export.load(io.BytesIO(data)).module().to(device)


def answer(model: Callable[[Any], Any], shape: tuple[int, ...], data: bytes, device: str) -> Any:
    """What the model says of a batch, as an array."""
    import numpy as np
    import torch

    from privmed.precision import subnet_precision

    images = torch.from_numpy(np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)).to(device)
    with torch.no_grad(), subnet_precision("auto", device):
        out = model(images.contiguous(memory_format=torch.channels_last))
    out = out[0] if isinstance(out, (tuple, list)) else out
    if not isinstance(out, torch.Tensor):
        raise TypeError(f"answers with {type(out).__name__}, expected a tensor of (images, classes)")
    return out.detach().float().cpu().contiguous().numpy()


def serve(asked: IO[bytes], told: IO[bytes]) -> None:
    """Load the model that is sent, say so, and answer until nobody asks any more."""
    about = json.loads(_part(asked))
    sys.path += [folder for folder in about["packages"] if folder not in sys.path]
    shut_in(sys.path)  # first: threads that run already are not bound by it
    threading.Thread(target=_follow, args=(about["parent"],), daemon=True).start()
    model = _told(told, lambda: load(_part(asked), about["kind"], about["device"]), quiet=True)
    while model is not None and len(head := asked.read(32)) == 32:
        shape = struct.unpack("<4Q", head)
        size = 4 * shape[0] * shape[1] * shape[2] * shape[3]
        batch = asked.read(size)
        _told(told, lambda shape=shape, batch=batch: answer(model, shape, batch, about["device"]))


def shut_in(packages: list[str]) -> None:
    """Give up what a model does not need: writing files, and on Linux reading any that is no part of Python and the system."""
    tempfile.tempdir = os.getcwd()  # else it is sought by writing
    try:
        import resource

        for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(what, (0, 0))
    except (ImportError, OSError, ValueError):
        pass  # no such limits on this system
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.append(here)
    import landlock

    sys.path.remove(here)
    landlock.restrict([sys.prefix, sys.base_prefix, *packages, *linked(packages)], scratch=os.getcwd())


def linked(packages: list[str]) -> list[str]:
    """Where packages really lie that are installed as links; only folders that hold installed distributions are looked at."""
    found = []
    for folder in filter(os.path.isdir, packages):
        entries = list(os.scandir(folder))
        if any(entry.name.endswith(".dist-info") for entry in entries):
            found += [os.path.realpath(entry.path) for entry in entries if entry.is_symlink()]
    return found


def _follow(parent: int) -> None:
    """End as soon as the parent is gone, whatever the model is doing."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _part(pipe: IO[bytes]) -> bytes:
    (length,) = struct.unpack("<Q", pipe.read(8))
    return pipe.read(length)


def _told(pipe: IO[bytes], do: Callable[[], Any], *, quiet: bool = False) -> Any:
    """Do something, and send what came of it (nothing if ``quiet``) or why it failed."""
    try:
        made = do()
    except Exception as error:  # a foreign model can fail in any way
        lines = str(error).strip().splitlines() or [type(error).__name__]
        words = lines[-1].encode("utf-8", "replace")[:LONGEST]
        pipe.write(struct.pack("<?I", True, len(words)) + words)
        made = None
    else:
        shape, data = ((0,), b"") if quiet else (made.shape, made.astype("<f4").tobytes())
        pipe.write(struct.pack(f"<?B{len(shape)}Q", False, len(shape), *shape) + data)
    pipe.flush()
    return made


if __name__ == "__main__":
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as nothing:  # what a model prints is no answer
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    serve(*pipes)
