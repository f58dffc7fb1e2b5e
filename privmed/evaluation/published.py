"""What a comparison of protectors keeps on disk: published sets, and a journal of finished runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from privmed import __version__, registry
from privmed.errors import OutputError
from privmed.evaluation.fingerprint import fingerprint
from privmed.evaluation.lineup import Contestant
from privmed.evaluation.metrics import psnr, ssim
from privmed.files import make_folder, whole_file
from privmed.interfaces.fitting import Fitting
from privmed.limits import read_text

Tick = Callable[[int, int, str], None]
Images = tuple[Tensor, Tensor]  # (N, 3, S, S) and (N, 1, S, S), both uint8; masks 0 or 1


def code_of(contestant: Contestant, *modules: str) -> str:
    """Fingerprint of a contestant's method, and of other modules."""
    method = [registry.load("protector", contestant.method).__module__] if contestant.method else []
    return fingerprint(*method, *modules)


def publish(contestant: Contestant, clean: Images, seed: int, tick: Tick) -> tuple[Images, dict[str, float]]:
    """Protect a training set; returns what is published, and how it looks."""
    images, masks = clean
    if not contestant.method:
        return clean, {}
    start = time.perf_counter()
    protector = registry.create("protector", contestant.method, None, None, **{"seed": seed, **contestant.settings})
    pairs = ((x.float() / 255, m.float()) for x, m in zip(images, masks))
    protector.fit(pairs, fitting=Fitting(lambda stage, n, total, _: tick(n, total, f"{contestant.label}: {stage}")))
    fitted = time.perf_counter()
    out, likeness = [], []
    for x, m in zip(images.split(16), masks.split(16)):
        original = x.float() / 255
        protected = protector.protect(original, m.float())
        likeness.append(torch.stack([psnr(protected, original), ssim(protected, original)]))
        out.append((protected * 255).round().byte())
    values = torch.cat(likeness, 1)
    finite = values[0][torch.isfinite(values[0])]
    return (torch.cat(out), masks), {
        "psnr": float(finite.mean()) if len(finite) else 99.0,
        "ssim": float(values[1].mean()),
        "fit_seconds": fitted - start,
        "protect_seconds": time.perf_counter() - fitted,
    }


class Published:
    """Published sets on disk, so that an exploiter added later does not cost the protection again."""

    def __init__(self, path: Path, data: str, size: int, channels: int) -> None:
        self.path = path
        self.common = {"data": data, "size": size, "channels": channels, "version": __version__}

    def get(self, contestant: Contestant, clean: Images, seed: int, tick: Tick) -> tuple[Images, dict[str, float]]:
        """What :func:`publish` gave before for the same data, method, settings and seed, or gives now."""
        if not contestant.method:
            return publish(contestant, clean, seed, tick)
        about = {
            **self.common,
            "code": code_of(contestant),
            "method": contestant.method,
            "settings": contestant.settings,
            "seed": seed,
        }
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        file = self.path / f"{name}.safetensors"
        if file.is_file():
            with safe_open(file, "pt") as stored:
                looks = {k: float(v) for k, v in json.loads(stored.metadata()["looks"]).items()}
                return (stored.get_tensor("images"), clean[1]), looks
        published, looks = publish(contestant, clean, seed, tick)
        make_folder(self.path)
        with whole_file(file, overwrite=True) as temporary:
            save_file({"images": published[0].contiguous()}, temporary, {"looks": json.dumps(looks)})
        return published, looks


class Journal:
    """Finished runs as JSON lines, so that an interrupted suite goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = read_text(path, "table_bytes").splitlines() if path.is_file() else []
        self.runs: dict[str, dict[str, Any]] = {}
        for line in lines:
            try:
                run = json.loads(line)
                self.runs[run["key"]] = run
            except (ValueError, KeyError):
                continue  # cut off by the interruption

    def __contains__(self, key: str) -> bool:
        return key in self.runs

    def add(self, key: str, **values: Any) -> None:
        """Keep a finished run."""
        self.runs[key] = {"key": key, **values}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.runs[key]) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}).") from error
