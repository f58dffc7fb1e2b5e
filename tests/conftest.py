"""Shared by all core tests: toy methods, and a way to install made-up plugins."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import frozen
from PIL import Image

from privmed import Analyzer, Hider, registry
from privmed.data.samples import ultrasound_phantom
from privmed.settings import at_least, setting


@frozen(kw_only=True)
class ToyConfig:
    """Settings of the toys."""

    strength: float = setting(0.1, "how much of the secret is mixed in", at_least(0))


class ToyHider(Hider):
    """Mix a little of the secret into the cover."""

    name = "toy"
    Config = ToyConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(1))

    def _hide(self, secret, cover, generator):
        return cover * (1 - self.config.strength) + self.config.strength * secret * self.gain

    def _recover(self, stego, generator):
        return stego * self.gain


class ToyAnalyzer(Analyzer):
    """Answer with the stego itself."""

    name = "toy"
    Config = ToyConfig

    def __init__(self, config=None):
        super().__init__(config)
        self.gain = torch.nn.Parameter(torch.ones(1))

    def _analyze(self, stego, generator):
        return stego * self.gain

    def _decode(self, recovered):
        return 10 * (recovered.mean(1, keepdim=True) - 0.5)


@pytest.fixture
def toy_hider():
    return ToyHider()


@pytest.fixture
def toy_analyzer():
    return ToyAnalyzer()


@pytest.fixture
def phantoms():
    """Write a set of four grey phantoms of 64 x 64 with masks: ``phantoms(root, foreground=1)``; returns the root."""

    def write(root: Path, *, foreground: int = 255, split: str = "") -> Path:
        for part, of in (("images", 0), ("masks", 1)):
            (root / part).mkdir(parents=True, exist_ok=True)
            for i in range(4):
                plane = ultrasound_phantom(i, side=64)[of][0, 0].numpy() * (foreground if of else 255)
                Image.fromarray(plane.astype(np.uint8)).save(root / part / f"p{i}.png")
        if split:
            lines = [f"p{i}.png,{part}\n" for i, part in enumerate(split.split())]
            (root / "split.csv").write_text("file,split\n" + "".join(lines))
        return root

    return write


BAD_NAMES = {
    "upwards": "../private/x.png",
    "upwards inside": "a/../../x.png",
    "dots": "..",
    "backslashes": "a\\..\\..\\x.png",
    "absolute": "/etc/x.png",
    "server": "\\\\server\\x\\x.png",
    "drive": "C:\\x.png",
    "drive alone": "C:x.png",
    "nul": "x\0.png",
    "empty": "",
    "dot": ".",
    "long": "x" * 300 + ".png",
    "no text": "\ud800.png",
}


@pytest.fixture(params=BAD_NAMES.values(), ids=BAD_NAMES)
def bad_name(request):
    """A name that no file may give to anything."""
    return request.param


@pytest.fixture
def in_process(monkeypatch):
    """Trusted TorchScript and ``torch.export`` models run in the process of the test: one of their own takes seconds to start."""
    from privmed.sandbox import ModelProcessError, child

    def here(data, kind, device="cpu"):
        try:
            return child.load(data, kind, device)
        except Exception as error:
            raise ModelProcessError(str(error).splitlines()[0]) from error

    monkeypatch.setattr("privmed.oracles.SeparateModel", here)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a made-up distribution: ``install("acme", "hiders", {"mine": "acme_mine"}, {"acme_mine": source})``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.syspath_prepend(str(site))

    def add(
        distribution: str, group: str, entries: dict[str, str], modules: dict[str, str], version: str = "1.0"
    ) -> Path:
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "\n".join(f"{k} = {v}" for k, v in entries.items())
        (info / "entry_points.txt").write_text(f"[privmed.{group}]\n{lines}\n")
        return site

    return add


@pytest.fixture
def serve():
    """``serve(analyze, allowed=[...], **settings)``; nothing is left when the test has ended, not even a thread."""
    pytest.importorskip("fastapi", reason="needs privmed[server]")
    pytest.importorskip("uvicorn", reason="needs privmed[server]")
    from .serving import Running

    before, running = set(threading.enumerate()), []

    def start(analyze, allowed=(), version="", **settings):
        running.append(Running(analyze, allowed, version, **settings))
        return running[-1]

    yield start
    for server in running:
        server.stop()
    assert set(threading.enumerate()) <= before
