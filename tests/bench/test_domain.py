"""benchmarks/domain.py: what goes into the statistics of a card, and how it is counted whom they warn."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import Analyzer, Hider
from privmed.bench.contracts import NoSettings

spec = importlib.util.spec_from_file_location("domain", Path(__file__).parents[2] / "benchmarks/domain.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


class Glass(Hider):
    """The stego is the scan: what was hidden is what comes back."""

    name, Config = "glass", NoSettings

    def _hide(self, secret, cover, generator):
        return secret

    def _recover(self, stego, generator):
        return stego


class Mirror(Analyzer):
    """Answers with what it was sent."""

    name, Config = "mirror", NoSettings

    def _analyze(self, stego, generator):
        return stego

    def _decode(self, recovered):
        return recovered[:, :1]


def save(path, value, size=(48, 36)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0]), value, np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    """Scans with and without a lesion, the last two of each for testing; photographs of a dark and of a bright source."""
    for n in range(5):
        save(tmp_path / f"busi/images/{n}.png", 100 + n)
        save(tmp_path / f"busi/masks/{n}.png", 255)
        save(tmp_path / f"busi-cls/normal/{n}.png", 60 + n)
        save(tmp_path / f"busi-cls/benign/{n}.png", 10)
    for folder, names in (
        ("busi", [f"{n}.png" for n in range(5)]),
        ("busi-cls", [f"{c}/{n}.png" for c in ("normal", "benign") for n in range(5)]),
    ):
        rows = [f"{name},{'test' if Path(name).stem in '34' else 'train'}" for name in names]
        (tmp_path / folder / "split.csv").write_text("\n".join(["file,split", *rows]) + "\n")
    for source, value in (("covers", 20), ("photos", 230)):
        for part in ("train", "test"):
            for n in range(2):
                save(tmp_path / source / part / f"{n}.png", value + n + 10 * (part == "test"), (40, 32))
    return tmp_path


def test_pairs_are_training_scans_at_both_sizes_in_photographs_of_both_sources(data, monkeypatch):
    monkeypatch.setattr(script, "SIZE", 32)
    pairs = list(script.training_pairs(data, "busi"))
    values = [round(float(scan.mean() * 255)) for scan, _ in pairs]
    assert values == [100, 101, 102, 60, 61, 62]  # no test image, and of the classes the one without lesions
    assert [tuple(scan.shape[2:]) for scan, _ in pairs] == [(36, 48), (32, 32)] * 3
    photographs = [round(float(cover.mean() * 255)) for _, cover in pairs]
    assert {p for p in photographs} == {20, 21, 230, 231}
    for size in (0, 1):  # scans of either size are hidden in photographs of either source
        assert {p < 128 for p in photographs[size::2]} == {True, False}


@pytest.mark.parametrize("strange", [None, "scan", "answer"])
def test_who_is_warned(data, monkeypatch, strange):
    asked = {}

    def unfamiliar(what):
        return lambda analyzer, image, name: asked.setdefault(what, image) is not None and what == strange

    monkeypatch.setattr(script, "unfamiliar_secret", unfamiliar("scan"))
    monkeypatch.setattr(script, "unfamiliar_output", unfamiliar("answer"))
    scan, cover = data / "busi/images/3.png", data / "covers/test/0.png"
    assert script.warned(Mirror(), Glass(), scan, cover) == (strange == "scan", strange == "answer")
    assert round(float(asked["scan"].mean() * 255)) == round(float(asked["answer"].mean() * 255)) == 103


def test_a_photograph_without_a_scan_goes_as_it_is_and_its_answer_alone_is_looked_at(data, monkeypatch):
    asked = []
    monkeypatch.setattr(script, "unfamiliar_secret", lambda *_: True)
    monkeypatch.setattr(script, "unfamiliar_output", lambda analyzer, image, name: asked.append(image) or True)
    assert script.warned(Mirror(), Glass(), None, data / "covers/test/1.png") == (False, True)
    torch.testing.assert_close(asked[0].mean(), torch.tensor(31 / 255))


def test_a_line_counts_scans_answers_and_either(capsys):
    script.report("busi", "isic, hidden", [(True, False), (True, True), (False, True), (False, True), (False, False)])
    assert capsys.readouterr().out == "busi: isic, hidden: of 5, scan 2, answer 3, either 4\n"
