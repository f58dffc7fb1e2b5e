"""What the protection suite remembers, and when it must not: other data, other masks, other splits, other code."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.data.folders import ImageFolder
from privmed.errors import InputError, SettingsError
from privmed.evaluation.exploiters import Protocol, exploit
from privmed.evaluation.fingerprint import fingerprint
from privmed.evaluation.lineup import lineup
from privmed.evaluation.protection import Plan, load_sets, run_suite
from privmed.training.surrogate import Surrogate

QUICK = Protocol(epochs=1, rate=1e-3, batch=2, width=2)


SPLIT = "train train train test"


def test_masks_of_0_and_1_are_those_of_0_and_255(phantoms, tmp_path):
    plan = Plan(size=64)
    a, b = (load_sets(ImageFolder(phantoms(tmp_path / str(k), foreground=k, split=SPLIT)), plan) for k in (1, 255))
    assert a[0][1].any()
    assert all(torch.equal(x[1], y[1]) for x, y in zip(a, b))


def test_a_set_of_empty_masks_is_refused(phantoms, tmp_path):
    with pytest.raises(InputError, match="are empty"):
        load_sets(ImageFolder(phantoms(tmp_path / "set", foreground=0, split=SPLIT)), Plan(size=64))


def test_the_digest_of_a_set_knows_contents_masks_and_split(phantoms, tmp_path):
    root = phantoms(tmp_path / "set", split=SPLIT)
    digests = [ImageFolder(root).digest(), ImageFolder(phantoms(tmp_path / "set", split=SPLIT)).digest()]
    assert digests[0] == digests[1]
    mask, image = root / "masks/p0.png", root / "images/p0.png"
    mask.write_bytes((root / "masks/p1.png").read_bytes())
    digests.append(ImageFolder(root).digest())
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    digests.append(ImageFolder(root).digest())
    phantoms(root, split="test train train train")
    digests.append(ImageFolder(root).digest())
    assert len(set(digests)) == 4


def test_another_split_is_another_run(phantoms, tmp_path):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan, out = Plan(size=64, seeds=[0], protocol=QUICK), tmp_path / "out"
    run_suite(phantoms(tmp_path / "set", split=SPLIT), lineup("lsp", 64), plan, out)
    run_suite(phantoms(tmp_path / "set", split="test train train train"), lineup("lsp", 64), plan, out)
    assert len((out / "journal.jsonl").read_text().splitlines()) == 6
    assert len(list((out / "published").iterdir())) == 4  # noise and lsp, twice


def test_the_fingerprint_sees_code_wherever_it_lies_and_nothing_else(tmp_path, monkeypatch):
    package = tmp_path / "stranger"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("HALF = 0.5\n")
    (package / "method.py").write_text("from stranger.helper import HALF\nimport privmed.errors\n")
    (package / "other.py").write_text("HALF = 0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def now():
        fingerprint.cache_clear()
        return fingerprint("stranger.method")

    try:
        first = now()
        (package / "other.py").write_text("HALF = 0.2\n")
        (package / "helper.py").write_text('"""Says what it is."""\n\nHALF = 0.5  # exactly\n')
        assert now() == first
        (package / "helper.py").write_text("HALF = 0.25\n")
        assert now() != first
    finally:
        fingerprint.cache_clear()
        for name in [n for n in sys.modules if n.partition(".")[0] == "stranger"]:
            del sys.modules[name]


def test_an_exploiter_is_not_the_surrogate_of_the_same_seed(monkeypatch):
    """With equal widths both would start from equal weights, and a protector would be judged by the network it was made against."""
    images, masks = torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.ones(2, 1, 32, 32, dtype=torch.uint8)
    starts = []
    monkeypatch.setattr(
        "privmed.evaluation.exploiters._step", lambda model, *_: starts.append(next(model.parameters()).clone())
    )
    exploit("unet", (images, masks), (images, masks), QUICK)
    torch.manual_seed(QUICK.seed)
    rival = next(Surrogate(0, QUICK.width).parameters())
    assert rival.shape == starts[0].shape
    assert not torch.equal(starts[0], rival)


def test_controls_are_as_wide_and_as_strong_as_what_they_are_held_against():
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    found = {c.label: c for c in lineup("umed[texture=none;contour_kernel=9],lsp[epsilon=8/255]", 64)}
    wide = found[found["umed[texture=none;contour_kernel=9]"].control]
    assert wide.settings == {"where": "contour", "contour_kernel": 9}
    assert found["lsp[epsilon=8/255]"].control == "noise, whole image, 8/255"
    assert found["noise, whole image, 8/255"].settings["epsilon"] == 8 / 255
    assert found["noise, whole image"].settings == {"where": "image"}


def test_impossible_sizes_are_refused():
    for size in (0, -5, 20, 100):
        with pytest.raises((SettingsError, ValueError), match="multiple of 16"):
            Plan(size=size)
