"""Shared by the tests of the command line."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def files(tmp_path):
    """A scan and a photograph, soft enough to be hidden well."""
    y, x = np.mgrid[0:64, 0:96] / 64
    scan = 127 + 90 * np.sin(5 * x) * np.cos(4 * y)
    photo = np.stack([127 + 100 * np.cos(3 * x + k) * np.sin(2 * y) for k in range(3)], 2)
    Image.fromarray(scan.astype(np.uint8)).save(tmp_path / "scan.png")
    Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path
