"""Shared by the tests of training."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def data(tmp_path):
    """A made-up data root: scans with masks, and photographs."""
    rng = np.random.default_rng(0)
    for folder in ("scans/images", "scans/masks", "photos"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(10):
        mask = np.zeros((40, 48), np.uint8)
        mask[10:30, 8 + i : 24 + i] = 255
        scan = np.clip(rng.normal(90, 20, mask.shape) + 0.4 * mask, 0, 255).astype(np.uint8)
        Image.fromarray(scan).save(tmp_path / f"data/scans/images/{i}.png")
        Image.fromarray(mask).save(tmp_path / f"data/scans/masks/{i}.png")
        Image.fromarray(rng.integers(0, 255, (36, 50, 3), dtype=np.uint8)).save(tmp_path / f"data/photos/{i}.png")
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path, data):
    def write(task="hiding", method="hider:lightih", extra=""):
        path = tmp_path / f"{task}.yaml"
        path.write_text(
            f"name: tiny\ntask: {task}\nmethod: {method}\n{extra}"
            f"data: {{root: {data}, covers: photos, secrets: [{{folder: scans}}]}}\n"
        )
        return path

    return write
