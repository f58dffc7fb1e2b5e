"""SRNet as a detector: its size, what it learns and what it cannot, its draws, and its place in the suite."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from privmed.bench.engine import open_suite, run_plan
from privmed.bench.plan import make_plan
from privmed.bench.srnet import SRNetConfig, SRNetDetector, alike
from privmed.bench.suites.detection import auc
from privmed.errors import SettingsError
from privmed.nn.srnet import Residual, SRNet
from privmed.testing import parametrize_with_checks

SMALL = {"width": 2, "steps": 40, "batch": 4, "crop": 32, "learning_rate": 1e-2}


@parametrize_with_checks("detector:srnet")
def test_srnet_conforms(detector, check):
    check(detector)


def phantoms(count, seed, side=32):
    """Smooth photographs with a little noise of their own, (N, 3, side, side) uint8."""
    draw = torch.Generator().manual_seed(seed)
    coarse = nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=draw), (side, side), mode="bicubic")
    return (40 + 170 * coarse.clamp(0, 1) + torch.randn(count, 3, side, side, generator=draw)).round().byte()


def changed(covers, amplitude, seed):
    """Noise of up to so many grey levels on top."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randint(-amplitude, amplitude + 1, covers.shape, generator=draw)
    return (covers.int() + noise).clamp(0, 255).byte()


def fitted(covers, stegos, **settings):
    detector = SRNetDetector(SRNetConfig(**{**SMALL, **settings}))
    detector.fit(covers, stegos, None)
    return detector


def test_the_network_is_of_the_published_size():
    """Counted by hand from the paper's Fig. 1, grey images, no bias where a normalisation follows."""
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    plain = lambda a, b: 9 * a * b + 2 * b  # noqa: E731
    pooled = lambda a, b: plain(a, b) + plain(b, b) + a * b + 2 * b  # noqa: E731
    want = plain(1, 64) + plain(64, 16) + 5 * 2 * plain(16, 16)
    want += pooled(16, 16) + pooled(16, 64) + pooled(64, 128) + pooled(128, 256)
    want += plain(256, 512) + plain(512, 512) + 2 * 512 + 2
    assert count(SRNet(1, 16)) == want == 4_776_962
    assert count(SRNet(3, 8)) == 1_196_546


def test_seven_layers_keep_the_resolution_and_four_halve_it():
    sides = []
    network = SRNet(3, 2).eval()
    for layer in network.layers:
        layer.register_forward_hook(lambda _module, _given, out: sides.append(out.shape[-1]))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    kinds = [type(layer) for layer in network.layers]
    assert kinds.count(Residual) == 9
    assert sides[:9] == [64] * 9
    assert sides[9:13] == [32, 16, 8, 4]


def test_what_anybody_sees_is_learnt_and_found_in_other_photographs():
    covers, others = phantoms(24, 0), phantoms(40, 1)
    detector = fitted(covers, changed(covers, 4, 2))
    asked = changed(others, 4, 3)
    assert auc(detector.score(others, None), detector.score(asked, None)) > 0.9
    right = (detector.score(others, None) <= 0).float().mean() + (detector.score(asked, None) > 0).float().mean()
    assert right / 2 > 0.75


def test_where_nothing_was_hidden_nothing_is_learnt():
    covers, others = phantoms(24, 0), phantoms(40, 1)
    detector = fitted(covers, covers)
    scores = detector.score(torch.cat([others, phantoms(40, 2)]), None)
    assert auc(scores[:40], scores[:40]) == 0.5
    assert 0.3 < auc(scores[:40], scores[40:]) < 0.7
    assert scores.max() - scores.min() < 1  # nor is it sure of anything


def test_a_seed_is_one_detector_whatever_was_drawn_before():
    covers = phantoms(8, 0)
    stegos, few = changed(covers, 4, 2), {"steps": 3}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fitted(covers, stegos, **few).score(stegos, None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(fitted(covers, stegos, **few).score(stegos, None), first)
    assert not torch.equal(fitted(covers, stegos, **few, seed=1).score(stegos, None), first)


def test_a_cover_and_its_stego_are_cut_and_turned_alike(monkeypatch):
    """Two images of the numbers of their pixels stay equal, and all places and orientations come up."""
    numbers = torch.arange(40 * 40).view(1, 1, 40, 40).expand(2, 3, 40, 40)
    draw, seen = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        cut = alike(numbers, 32, draw)
        assert torch.equal(cut[0], cut[1])
        corner = [int(cut[0, 0, y, x]) for y, x in ((0, 0), (0, -1), (-1, 0))]
        seen.add((corner[1] - corner[0], corner[2] - corner[0]))
    assert seen == {(a * i, b * j) for i, j in ((31, 1240), (1240, 31)) for a in (1, -1) for b in (1, -1)}
    assert alike(numbers[..., :20, :], 32, draw).shape == (2, 3, 20, 20)
    given = []
    monkeypatch.setattr(SRNetDetector, "_logits", lambda self, x: given.append(x) or self.network(x.float()))
    fitted(phantoms(4, 0), phantoms(4, 0), steps=1)
    assert torch.equal(given[0][::2], given[0][1::2])


@pytest.fixture
def sets(tmp_path):
    """Scans and two sources of photographs."""
    for name, seed in (("scans", 0), ("beach", 1), ("town", 2)):
        (tmp_path / name).mkdir()
        for n, image in enumerate(phantoms(8, seed)):
            Image.fromarray(np.moveaxis(image.numpy(), 0, 2)).save(tmp_path / f"{name}/{n}.png")
        lines = [f"{n}.png,{'train' if n < 4 else 'test'}\n" for n in range(8)]
        (tmp_path / name / "split.csv").write_text("file,split\n" + "".join(lines))
    return tmp_path


def plan(**detectors):
    plain = {"suite": "detection", "data": "scans", "entries": [{"label": "noise", "method": "noise"}]}
    plain["settings"] = {"size": 32, "train": 4, "test": 4, "noise": 30.0, "detectors": detectors}
    plain["grid"] = {"examples": ["beach"], "cover": ["beach", "town"], "detector": ["cooccurrence", "srnet"]}
    return make_plan(plain)


def test_it_is_trained_once_for_all_sources_and_records_say_how_wide_it_is(sets, monkeypatch):
    trained, fit = [], SRNetDetector.fit
    monkeypatch.setattr(SRNetDetector, "fit", lambda self, *a: (trained.append(self.config.seed), fit(self, *a)))
    records = run_plan(plan(srnet={"width": 2, "steps": 2}), sets, sets / "out", seeds=[0, 3]).records
    assert trained == [0, 3]
    of = lambda name: [m for m in records.measurements if m.dimensions["detector"] == name]  # noqa: E731
    assert {(m.dimensions["width"], m.dimensions["steps"], m.dimensions["crop"]) for m in of("srnet")} == {(2, 2, 64)}
    assert {m.dimensions["cover"] for m in of("srnet") if m.metric == "auc"} == {"beach", "town"}
    assert all("width" not in m.dimensions for m in of("cooccurrence"))


def test_another_width_is_another_run(sets):
    keys = []
    for width in (2, 3):
        suite = open_suite(plan(srnet={"width": width}), sets, sets / "out")
        keys.append([suite.identity(cell) for cell in suite.cells()])
    assert [a == b for a, b in zip(*keys)] == [True, True, False, False]  # of the other detector nothing changes


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        ({"srnett": {}}, "'srnett' is no detector of this plan; there are cooccurrence, srnet. Did you mean"),
        ({"srnet": {"width": 1}}, "width must be at least 2"),
        ({"srnet": {"crop": 40}}, "crop must be at least 32 and a multiple of 16"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(sets, detectors, message):
    with pytest.raises(SettingsError, match=message):
        run_plan(plan(**detectors), sets, sets / "out")
    assert not (sets / "out").exists()
