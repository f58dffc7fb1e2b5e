"""Exploiters that learnt the task on another data set before: what they begin with, what they need, and what is refused."""

import shutil

import pytest
import torch

from privmed.bench.engine import open_suite, run_plan
from privmed.bench.exploiters import Protocol, _begin, exploit, pretrain
from privmed.bench.plan import make_plan
from privmed.errors import PrivmedError, SettingsError

QUICK = {"epochs": 1, "learning_rate": 1e-3, "batch": 2, "width": 2}


def plan_of(elsewhere="other", data="set", defences=("none", "pretrained"), exploiter="unet", **more):
    plain = {"suite": "protection", "data": data, "entries": [{"label": "unprotected"}]}
    grid = {"defence": list(defences), "exploiter": [exploiter]}
    return make_plan(
        {**plain, "grid": grid, "settings": {"size": 32, "protocol": QUICK, "elsewhere": elsewhere, **more}}
    )


@pytest.fixture
def folders(phantoms, tmp_path):
    for name, split in (
        ("set", "train train train test"),
        ("other", "train train test test"),
        ("third", "train test test test"),
    ):
        phantoms(tmp_path / name, split=split)
    return tmp_path


def pairs(n=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 32, 32), generator=draw, dtype=torch.uint8)
    return images, (images > 127).byte()


def test_it_begins_with_what_was_learnt_elsewhere():
    still = Protocol(epochs=1, learning_rate=1e-12, batch=2, width=2)
    known = pretrain("unet", pairs(seed=1), Protocol(epochs=40, learning_rate=1e-2, batch=2, width=2))
    fresh = exploit("unet", pairs(), pairs(seed=2), still)
    first = exploit("unet", pairs(), pairs(seed=2), still, "pretrained", start=known)
    assert first.last["dice"] > 0.8 > fresh.last["dice"]
    assert exploit("unet", pairs(), pairs(seed=2), still, start=known) == fresh  # others do not look at it


def test_a_network_elsewhere_learns_and_is_of_its_seed():
    protocol = Protocol(epochs=2, learning_rate=1e-2, batch=2, width=2)
    once, again, longer = (
        pretrain("unet", pairs(), p)
        for p in (protocol, protocol, Protocol(epochs=3, learning_rate=1e-2, batch=2, width=2))
    )
    assert all(torch.equal(once[k], again[k]) for k in once)
    assert any(not torch.equal(once[k], longer[k]) for k in once)


def test_all_but_the_layer_of_the_classes_is_taken_over():
    known, own = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, n)) for n in (2, 5))
    before = own[1].weight.clone()
    _begin(own, known.state_dict(), "pretrained")
    assert torch.equal(own[0].weight, known[0].weight)
    assert torch.equal(own[1].weight, before)


def test_without_a_network_to_begin_with_it_is_refused():
    with pytest.raises(SettingsError, match=r"pretrained: needs a network that was trained on another data set"):
        exploit("unet", pairs(), pairs(), Protocol(epochs=1, batch=2, width=2), "pretrained")


@pytest.mark.parametrize(
    "other", [torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(9, 4), torch.nn.Linear(4, 2))]
)
def test_another_network_is_refused(other):
    own = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    with pytest.raises(SettingsError, match="is another network, or of another width"):
        _begin(own, other.state_dict(), "pretrained")


def test_what_is_held_out_is_learnt_elsewhere_all_the_same(folders):
    suite = open_suite(plan_of(holdout=0.4), folders, folders / "out")
    assert [len(suite.sets("set")[0][0]), len(suite.elsewhere()[0])] == [1, 2]


def test_a_plan_trains_it_once_and_runs_of_other_defences_stay_known(folders):
    found = run_plan(plan_of(), folders, folders / "out").records.measurements
    assert {m.dimensions["defence"] for m in found if m.metric == "dice"} == {"none", "pretrained"}
    assert len(list((folders / "out/cache/pretrained").iterdir())) == 1


def test_the_set_elsewhere_counts_for_that_defence_alone(folders):
    suites = [open_suite(plan_of(name), folders, folders / "out") for name in ("other", "third")]
    for defence, alike in (("none", True), ("pretrained", False)):
        cells = [next(c for c in s.cells() if c.dimensions["defence"] == defence) for s in suites]
        same = suites[0].identity(cells[0]) == suites[1].identity(cells[1])
        assert same is alike


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [
        ("", "defence pretrained: none is named. Name another data set"),
        ("set", "defence pretrained: set is what is protected"),
        ("twin", "defence pretrained: twin is what is protected"),
        ("nowhere", "nowhere"),
        ("classes", "is made for segmentation"),
    ],
)
def test_a_bad_set_elsewhere_is_refused_before_anything_runs(folders, elsewhere, said):
    for name in "abcd":
        (folders / "classes" / name[0]).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            shutil.copy(folders / f"set/images/p{i}.png", folders / f"classes/{name}/{i}.png")
    shutil.copytree(folders / "set", folders / "twin")
    with pytest.raises(PrivmedError, match=said):
        run_plan(plan_of(elsewhere), folders, folders / "out")
    assert not (folders / "out/runs.jsonl").exists()
