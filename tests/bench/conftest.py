"""Methods whose figures are known, and a few scans and photographs."""

import numpy as np
import pytest
from PIL import Image

TOYS = '''
import torch
from privmed import Analyzer, FileHider, Hider, hookimpl
from privmed.bench.contracts import NoSettings


class Faint(Hider):
    """Changes a cover by two grey levels, and keeps the secret aside."""

    name, Config = "faint", NoSettings
    kept = {}

    def _hide(self, secret, cover, generator):
        self.kept["secret"] = secret
        return torch.where(cover > 0.5, cover - 2 / 255, cover + 2 / 255)

    def _recover(self, stego, generator):
        return self.kept["secret"]


class Pocket(FileHider):
    """Changes every value of a photograph by one level, and keeps the file aside."""

    name, kept = "pocket", {}

    def _hide_file(self, data, cover, key, entropy):
        self.kept["data"], self.kept["size"] = data, cover.shape
        return cover ^ 1

    def _recover_file(self, stego, key):
        return self.kept["data"]

    def _capacity(self, cover):
        return cover.size

    def _size_of(self, data):
        return len(data)


class Bright(Analyzer):
    """Finds what is bright; answers with the stego as it is."""

    name, Config = "bright", NoSettings

    def _analyze(self, stego, generator):
        return stego

    def _decode(self, recovered):
        return 100 * (recovered.mean(1, keepdim=True) - 0.5)

    def segment(self, image):
        return 100 * (image.mean(1, keepdim=True) - 0.9)


class Open(Hider):
    """Sends the secret in place of the cover."""

    name, Config = "open", NoSettings

    def _hide(self, secret, cover, generator):
        return secret

    def _recover(self, stego, generator):
        return stego


class Negative(Open):
    """Reads the negative of what was sent."""

    name = "negative"

    def _recover(self, stego, generator):
        return 1 - stego


class Moody(Open):
    """Sends it in place of dark covers only."""

    name = "moody"

    def _hide(self, secret, cover, generator):
        bright = cover.mean((1, 2, 3), keepdim=True) > 0.5
        return torch.where(bright, torch.zeros_like(secret), secret)


class Telling(Bright):
    """Says that nothing was hidden where the first corner is not dark."""

    name = "telling"

    def _presence(self, recovered):
        return 100 * (0.2 - recovered[..., :8, :8].mean((1, 2, 3)))


@hookimpl
def privmed_register(register):
    register(Open)
    register(Negative)
    register(Moody)
    register(Telling)
    register(Faint)
    register(Pocket)
    register(Bright)
'''


@pytest.fixture
def toys(install, tmp_path):
    site = install(
        "toys",
        "hiders",
        dict.fromkeys(("faint", "pocket", "open", "negative", "moody"), "toy_methods"),
        {"toy_methods": TOYS},
    )
    path = site / "toys-1.0.dist-info/entry_points.txt"
    path.write_text(path.read_text() + "[privmed.analyzers]\nbright = toy_methods\ntelling = toy_methods\n")
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "scans" / part).mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    for n in range(3):
        mask = np.zeros((64, 64), np.uint8)
        mask[16 : 32 + n, 16:48] = 255
        scan = np.where(mask, 230, 20).astype(np.uint8)
        scan[16:20, 16:48] = 180  # too dark for the analyzer of bare images
        Image.fromarray(scan).save(tmp_path / f"scans/images/{n}.png")
        Image.fromarray(mask).save(tmp_path / f"scans/masks/{n}.png")
        Image.fromarray(rng.integers(20, 235, (80, 64, 3), np.uint8)).save(tmp_path / f"photos/{n}.png")
    for name in ("scans", "photos"):
        (tmp_path / name / "split.csv").write_text("file,split\n" + "".join(f"{n}.png,test\n" for n in range(3)))
    return tmp_path
