"""Detection: features by hand, the area under the curve, thresholds, and the suite on hiders that are found and not found."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu

from privmed import registry
from privmed.bench.detectors import STRAIGHT, Cooccurrence, best_threshold, neighbours, triples
from privmed.bench.engine import key_of, open_suite, run_plan
from privmed.bench.plan import make_plan
from privmed.bench.suites.detection import Detection, auc, auc_error, judged, likenesses, spread
from privmed.errors import SettingsError
from privmed.testing import parametrize_with_checks
from privmed.weights import bundled, save

TOYS = '''
import torch
from privmed import Analyzer, Hider, hookimpl
from privmed.bench.contracts import NoSettings


class Nothing(Hider):
    """Hides nothing: the stego is the cover."""

    name, Config = "nothing", NoSettings

    def _hide(self, secret, cover, generator):
        return cover

    def _recover(self, stego, generator):
        return torch.rand(stego.shape, generator=torch.Generator().manual_seed(0))


class Shout(Nothing):
    """Replaces the cover by the scan, and gives noise back where none was."""

    name = "shout"

    def _hide(self, secret, cover, generator):
        mark = torch.zeros_like(cover)
        mark[..., ::2, :] = 0.1
        return (cover + mark).clamp(0, 1)

    def _recover(self, stego, generator):
        rows = stego[..., ::2, :].mean((1, 2, 3)) - stego[..., 1::2, :].mean((1, 2, 3))
        noise = torch.rand(stego.shape, generator=torch.Generator().manual_seed(0))
        smooth = torch.linspace(0, 1, stego.shape[-1]).expand_as(stego)
        return torch.where(rows.view(-1, 1, 1, 1) > 0.03, smooth, noise)


class Loud(Analyzer):
    """Answers to nothing with a shout."""

    name, Config = "loud", NoSettings

    def _analyze(self, stego, generator):
        return Shout()._hide(stego, stego, generator)

    def _decode(self, recovered):
        return recovered[:, :1]


class Tint(Nothing):
    """Changes as much as the scan is away from grey, and gives it back exactly."""

    name = "tint"

    def _hide(self, secret, cover, generator):
        return 0.5 + (secret - 0.5) / 2

    def _recover(self, stego, generator):
        return 0.5 + (stego - 0.5) * 2


@hookimpl
def privmed_register(register):
    register(Tint)
    register(Nothing)
    register(Shout)
    register(Loud)
'''


@parametrize_with_checks("detector:cooccurrence")
def test_cooccurrence_conforms(detector, check):
    check(detector)


@parametrize_with_checks("detector:recover")
def test_recover_conforms(detector, check):
    check(detector)


@pytest.mark.parametrize("direction", [*STRAIGHT, (1, -1)])
def test_triples_of_differences_by_hand(direction):
    plane = torch.randint(0, 9, (1, 7, 8), generator=torch.Generator().manual_seed(1))
    seen, q = np.zeros(5**3), plane[0].numpy()
    for y, x in itertools.product(range(7), range(8)):
        walk = [(y + k * direction[0], x + k * direction[1]) for k in range(4)]
        if all(0 <= a < 7 and 0 <= b < 8 for a, b in walk):
            steps = [int(np.clip(q[a] - q[b], -2, 2)) + 2 for a, b in itertools.pairwise(walk)]
            seen[steps[0] * 25 + steps[1] * 5 + steps[2]] += 1
    found = triples(plane, (direction,), 2)[0].numpy()
    np.testing.assert_allclose(found, seen / seen.sum())


def test_the_area_is_that_of_the_rank_test():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 30).astype(float), rng.integers(2, 12, 40).astype(float)
    want = mannwhitneyu(b, a).statistic / (30 * 40)
    assert auc(torch.tensor(a), torch.tensor(b)) == pytest.approx(want)
    assert auc_error(0.5, 100, 100) == pytest.approx(0.041, abs=1e-3)
    assert auc_error(1.0, 100, 100) == 0


def test_what_is_judged_by_hand():
    covers = torch.arange(100.0) - 90  # ten of them above 0
    stegos = torch.full((50,), 8.5)
    stegos[:5] = 0.5  # found at ten false alarms of a hundred, not at one
    found = {
        v.metric: v.value for v in [*judged(covers, stegos), *likenesses("psnr", torch.tensor([40.0, 42.0, torch.inf]))]
    }
    assert found["told"] == pytest.approx((0.91 + 1) / 2)
    assert found["found"] == pytest.approx(0.9)  # 99 of 100 photographs score at most 8
    assert found["psnr"] == 41


def test_a_threshold_lies_where_most_is_right():
    low, high = torch.tensor([0.0, 1.0, 2.0, 9.0]), torch.tensor([3.0, 4.0, 5.0, 6.0])
    assert 2 < best_threshold(low, high) < 3


def test_neighbours_of_noise_and_of_a_ramp():
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert neighbours(ramp + ramp.mT) > 0.99
    assert neighbours(noise).abs() < 0.05
    assert neighbours(torch.ones(1, 3, 32, 32)) == 0


def test_a_sample_is_even():
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread([1, 2], 5) == [1, 2]


@pytest.fixture
def toys(install, tmp_path):
    site = install("acme", "hiders", {"nothing": "toys", "shout": "toys", "tint": "toys"}, {"toys": TOYS})
    path = site / "acme-1.0.dist-info/entry_points.txt"
    path.write_text(path.read_text() + "[privmed.analyzers]\nloud = toys\n")
    rng = np.random.default_rng(0)
    for folder in ("scans/a", "scans/b", "beach/train", "beach/test"):
        (tmp_path / folder).mkdir(parents=True)
        for n in range(12):
            small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8).astype(np.uint8))
            small.resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / folder / f"{folder[-1]}{n}.png")
    return tmp_path


def test_the_suite_tells_what_is_found_from_what_is_not(toys):
    plan = make_plan(
        {
            "suite": "detection",
            "data": "scans",
            "entries": [
                {"label": "noise", "method": "noise"},
                {"label": "nothing", "method": "nothing"},
                {"label": "shout", "method": "shout"},
            ],
            "grid": {"examples": ["beach"], "cover": ["beach"]},
            "settings": {"size": 64, "train": 12, "test": 12, "noise": 30.0},
        }
    )
    records = run_plan(plan, toys, toys / "out").records
    found = {(m.method, m.dimensions["detector"]): m.value for m in records.measurements if m.metric == "auc"}
    assert ("noise", "recover") not in found  # nobody has a public hider of noise
    assert found["noise", "cooccurrence"] == 1
    assert found["nothing", "cooccurrence"] == found["nothing", "recover"] == 0.5
    assert found["shout", "recover"] == 1
    levels = {m.method: m.value for m in records.measurements if m.metric == "psnr"}
    assert levels["noise"] == pytest.approx(30, abs=0.5)
    assert "nothing" not in levels


def test_responses_are_told_from_photographs_too(toys, monkeypatch):
    made = registry.create

    def create(kind, name, weights=None, device="cpu", **settings):
        method = made(kind, name, None, device, **settings)
        follows = {"hider": {"name": "nothing", "weights": "w", "sha256": "w"}}
        method.card = {"sha256": "w", **(follows if kind == "analyzer" else {})}
        return method

    hidden = []
    sent = Detection.sent
    monkeypatch.setattr(registry, "create", create)
    monkeypatch.setattr(Detection, "sent", lambda self, label, *x: hidden.append(label) or sent(self, label, *x))
    plan = {
        "suite": "detection",
        "data": "scans",
        "entries": [{"label": "nothing", "method": "nothing"}, {"label": "noise", "method": "noise"}],
        "grid": {"examples": ["beach"], "cover": ["beach"], "analyzer": ["none", "loud:w"]},
        "settings": {"size": 64, "train": 6, "test": 6},
    }
    records = run_plan(make_plan(plan), toys, toys / "out").records
    keys = {
        (m.method, m.dimensions["analyzer"], m.dimensions["detector"]): m.value
        for m in records.measurements
        if m.metric == "auc"
    }
    assert keys == {
        ("nothing", "none", "recover"): 0.5,
        ("nothing", "none", "cooccurrence"): 0.5,
        ("nothing", "loud:w", "recover"): 0.5,  # what the hider gives back is noise, whatever it is given
        ("nothing", "loud:w", "cooccurrence"): 1.0,
        ("noise", "none", "cooccurrence"): 1.0,
    }
    assert [m.dimensions["analyzer"] for m in records.measurements if m.metric == "response-psnr"] == ["loud:w"] * 2
    assert hidden.count("nothing") == 12  # once, for stegos and responses


def test_a_fainter_scan_is_hidden_fainter_and_brought_back(toys):
    plan = {
        "suite": "detection",
        "data": "scans",
        "entries": [
            {"label": "tint", "method": "tint"},
            {"label": "noise", "method": "noise", "settings": {"psnr": 20.0}},
        ],
        "grid": {
            "examples": ["beach"],
            "cover": ["beach"],
            "contrast": [1, 0.1],
            "detector": ["recover", "cooccurrence"],
        },
        "settings": {"size": 64, "train": 4, "test": 4, "noise": 30.0},
    }
    suite = open_suite(make_plan(plan), toys, toys / "out")
    faint, full = (suite.pairs("tint", "scans", "beach", "test", 0, "none", c)[1].float() / 255 for c in (0.1, 1.0))
    torch.testing.assert_close(faint - 0.5, 0.1 * (full - 0.5), atol=0.003, rtol=0)
    found = {
        (m.method, m.metric, m.dimensions["contrast"]): m.value
        for m in run_plan(make_plan(plan), toys, toys / "out").records.measurements
    }
    assert found["tint", "recovered-psnr", 1] > 45
    assert 25 < found["tint", "recovered-psnr", 0.1] < found["tint", "recovered-psnr", 1] - 15  # ten times the rounding
    assert found["noise", "psnr", 1] == pytest.approx(20, abs=1)
    assert ("noise", "auc", 0.1) not in found
    assert ("noise", "recovered-psnr", 1) not in found


def test_full_contrast_is_one_run_however_it_is_written(toys):
    keys = []
    for contrast in ({}, {"contrast": [1]}, {"contrast": [1.0]}):
        plan = {"suite": "detection", "data": "scans", "entries": [{"label": "nothing", "method": "nothing"}]}
        plan |= {"grid": {"examples": ["beach"], "cover": ["beach"], **contrast}, "settings": {"size": 64, "train": 4}}
        suite = open_suite(make_plan(plan), toys, toys / "out")
        keys.append([key_of(suite, cell) for cell in suite.cells()])
    assert keys[0] == keys[1] == keys[2]
    values = suite.measure(next(iter(suite.cells())))
    assert all("contrast" not in v.dimensions for v in values)  # the plan varies it: it is in the cell
    suite = open_suite(make_plan({**plan, "grid": {"examples": ["beach"], "cover": ["beach"]}}), toys, toys / "out")
    assert all(
        v.dimensions["contrast"] is None for v in suite.measure(next(iter(suite.cells())))
    )  # else it needs no word


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {"contrast": [0]}}, "contrast must be a number above 0 and at most 1, got 0"),
        ({"grid": {"contrast": ["full"]}}, "at most 1, got 'full'"),
        ({"grid": {"contrast": [1.5]}}, "at most 1, got 1.5"),
        ({"grid": {"contrast": [True]}}, "at most 1, got True"),
        ({"entries": [{"label": "hiss", "method": "noise", "settings": {"level": 3}}]}, "hiss: settings"),
        ({"entries": [{"label": "hiss", "method": "noise", "settings": {"psnr": -3}}]}, "psnr"),
    ],
)
def test_a_contrast_or_a_noise_that_is_none_is_refused(toys, changes, words):
    plan = {"suite": "detection", "data": "scans", "entries": [{"label": "nothing", "method": "nothing"}], **changes}
    plan["grid"] = {"examples": ["beach"], "cover": ["beach"], **changes.get("grid", {})}
    with pytest.raises(SettingsError, match=words):
        run_plan(make_plan(plan), toys, toys / "out")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hidemia:busi", "hidemia:busi: answers to stegos of lightih broad, and not to those of lightih"),
        ("hidemia", "expected METHOD:WEIGHTS"),
    ],
)
def test_an_analyzer_that_cannot_answer_is_refused(toys, name, words):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    other = {"label": "lightih", "method": "lightih", "weights": "general"}
    plan = {"suite": "detection", "data": "scans", "entries": [other]}
    plan["grid"] = {"examples": ["beach"], "cover": ["beach"], "analyzer": [name]}
    with pytest.raises(SettingsError, match=words):
        run_plan(make_plan(plan), toys, toys / "out")


def test_an_analyzer_of_bare_images_is_refused_before_anything_is_hidden(toys):
    pytest.importorskip("monai", reason="needs MONAI (privmed[monai])")
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    save(registry.analyzer("resnet50", weights=None), toys / "r.safetensors")
    plan = {"suite": "detection", "data": "scans", "entries": [{"label": "nothing", "method": "nothing"}]}
    plan["grid"] = {"examples": ["beach"], "cover": ["beach"], "analyzer": [f"resnet50:{toys / 'r.safetensors'}"]}
    with pytest.raises(SettingsError, match="resnet50 takes bare images alone"):
        run_plan(make_plan(plan), toys, toys / "out")


def test_a_detector_learns_from_training_photographs_alone(toys, monkeypatch):
    seen = []
    monkeypatch.setattr(Cooccurrence, "fit", lambda self, covers, stegos, public: seen.append(covers))
    monkeypatch.setattr(Cooccurrence, "score", lambda self, images, public: seen.append(images) or images[:, 0, 0, 0])
    plain = {"suite": "detection", "data": "scans", "entries": [{"label": "nothing", "method": "nothing"}]}
    plain["settings"] = {"size": 64, "train": 5, "test": 4}
    plain["grid"] = {"examples": ["beach"], "cover": ["beach"], "detector": ["cooccurrence"]}
    run_plan(make_plan(plain), toys, toys / "out")
    learnt, asked = ({image.numpy().tobytes() for image in part} for part in seen[:2])
    assert (len(learnt), len(asked)) == (5, 4)
    assert not learnt & asked


def test_a_hider_under_a_key_is_attacked_with_another_key(toys):
    pytest.importorskip("cryptography")
    plain = {"suite": "detection", "data": "scans", "entries": [{"label": "keyed", "method": "lightih-keyed"}]}
    plain["settings"] = {"size": 64, "train": 2, "test": 2}
    plain["grid"] = {"examples": ["beach"], "cover": ["beach"]}
    suite = open_suite(make_plan(plain), toys, toys / "out")
    own, public = suite.hider("keyed"), suite.public("keyed")
    assert own._key != public._key
    assert all(torch.equal(v, public.state_dict()[k]) for k, v in own.state_dict().items())


def test_a_detector_has_bundled_weights_unless_those_of_an_entry_leaked(toys, tmp_path):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    own = bundled(registry.load("hider", "lightih"))["general"]
    (tmp_path / "models").mkdir()
    for file in (own, own.with_suffix(".json")):
        shutil.copy(file, tmp_path / "models" / f"own{file.suffix}")
    entries = [{"label": name, "method": "lightih", "weights": "own.safetensors"} for name in ("kept", "leaked")]
    plan = {
        "suite": "detection",
        "data": "scans",
        "entries": entries,
        "grid": {"examples": ["beach"], "cover": ["beach"]},
    }
    suite = open_suite(
        make_plan({**plan, "settings": {"leaked_weights": ["leaked"]}}),
        toys,
        tmp_path / "out",
        models=tmp_path / "models",
    )
    mine = {name: suite.hider(name).card["sha256"] for name in ("kept", "leaked")}
    theirs = {name: suite.public(name).card["sha256"] for name in ("kept", "leaked")}
    assert mine["kept"] == mine["leaked"] == theirs["leaked"] != theirs["kept"]
    cells = {cell.entry.label: suite.identity(cell) for cell in suite.cells()}
    assert cells["kept"] != cells["leaked"]
    with pytest.raises(
        SettingsError,
        match=r"leaked_weights: 'leakd' is no entry with weights of its own; there are kept, leaked.* Did you mean",
    ):
        run_plan(
            make_plan({**plan, "settings": {"leaked_weights": ["leakd"]}}),
            toys,
            tmp_path / "out",
            models=tmp_path / "models",
        )
