"""One answer for all images, by hand, and as a row of the covert suite."""

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.bench.constant import constant
from privmed.bench.data import Dataset, Sample
from privmed.bench.engine import run_plan
from privmed.bench.plan import make_plan
from privmed.errors import SettingsError
from privmed.interfaces.analyzer import probabilities

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def sample(name, part, **truth):
    return Sample(name=name, image=lambda: torch.rand(1, 1, 32, 32), split=part, **truth)


def band(low, high):
    return ((torch.arange(32) >= low) & (torch.arange(32) < high)).float().expand(1, 1, 32, 32)


def answer(dataset, **settings):
    found = constant(dataset, 32, settings, "entry")
    return probabilities(found.segment(IMAGES))


def test_the_commonest_class_of_the_training_part():
    parts = [("a", "train"), ("b", "train"), ("b", "train"), ("a", "test"), ("c", "test"), ("a", "test")]
    data = Dataset("set", [sample(str(n), part, label=label) for n, (label, part) in enumerate(parts)])
    found = answer(data, classes=3)
    assert found.shape == (2, 3)
    assert torch.allclose(found, torch.tensor([0.0, 1.0, 0.0]).expand(2, -1), atol=1e-6)


def test_the_mask_that_is_best_on_the_training_part():
    """Two lie at 8 to 16, one at 8 to 24; where all three are has the best Dice, and where one of three is not."""
    lies = [(8, 16, "train"), (8, 16, "train"), (8, 24, "train"), (0, 32, "test")]
    masks = [band(low, high) for low, high, _ in lies]
    data = Dataset(
        "set", [sample(str(n), part, mask=lambda m=m: m) for n, (m, (_, _, part)) in enumerate(zip(masks, lies))]
    )
    assert torch.allclose(answer(data), band(8, 16).expand(2, -1, -1, -1), atol=1e-6)


def test_every_class_where_its_own_mask_is_best():
    def numbers(size, classes):
        assert (size, classes) == (32, 3)
        return band(4, 12)[0] + 2 * band(20, 28)[0]

    data = Dataset("set", [sample("a", "train", numbers=numbers), sample("b", "test", numbers=numbers)])
    found = answer(data, mask_classes=3)
    assert torch.equal(found.argmax(1), numbers(32, 3).long().expand(2, -1, -1))


@pytest.fixture
def scans(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("scans/images", "scans/masks", "photos"):
        (tmp_path / part).mkdir(parents=True)
    for n in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[8 : 20 + n, 8:24] = 255
        Image.fromarray(rng.integers(0, 90, (32, 32), np.uint8)).save(tmp_path / f"scans/images/{n}.png")
        Image.fromarray(mask).save(tmp_path / f"scans/masks/{n}.png")
        Image.fromarray(rng.integers(20, 235, (40, 32, 3), np.uint8)).save(tmp_path / f"photos/{n}.png")
    for name in ("scans", "photos"):
        lines = [f"{n}.png,{'test' if n > 3 else 'train'}\n" for n in range(6)]
        (tmp_path / name / "split.csv").write_text("file,split\n" + "".join(lines))
    return tmp_path


def plan(hider="none", **settings):
    entry = {"label": "one answer", "method": "constant", "settings": settings, "grid": {"hider": [hider]}}
    about = {
        "suite": "covert",
        "name": "p",
        "data": "scans",
        "entries": [entry],
        "grid": {"hider": ["none"], "cover": ["photos"]},
    }
    return make_plan({**about, "settings": {"size": 32, "covers": 2}})


def test_it_is_a_row_of_the_covert_suite(scans):
    found = {m.metric: m for m in run_plan(plan(), scans, scans / "out").records.measurements}
    assert set(found) == {"dice", "jaccard", "asd"}
    assert 0.7 < found["dice"].value < 1
    assert found["dice"].n == 2
    assert not found["dice"].dimensions


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"hider": "lightih"}, "constant takes bare images alone"),
        ({"classes": 2}, "entry 'one answer': tells classes, but data set scans has none"),
        ({"width": 2}, "no setting 'width'"),
        ({"classes": 1}, "entry 'one answer': classes and mask_classes must be 0 or at least 2"),
        ({"mask_classes": 1}, "entry 'one answer': classes and mask_classes must be 0 or at least 2"),
    ],
)
def test_what_it_cannot_answer_is_refused(scans, how, words):
    with pytest.raises(SettingsError, match=words):
        run_plan(plan(**how), scans, scans / "out")


def test_protection_of_classes_has_the_commonest_one_beside_it(tmp_path):
    lines = []
    for label, parts in (("a", "train test"), ("b", "train test"), ("c", "train train test")):
        (tmp_path / "sorted" / label).mkdir(parents=True)
        for n, part in enumerate(parts.split()):
            Image.new("L", (32, 32), 40 * n).save(tmp_path / f"sorted/{label}/{n}.png")
            lines.append(f"{label}/{n}.png,{part}\n")
    (tmp_path / "sorted/split.csv").write_text("file,split\n" + "".join(lines))
    about = {"suite": "protection", "name": "p", "data": "sorted", "entries": [{"label": "one", "method": "constant"}]}
    of = make_plan({**about, "grid": {"exploiter": ["resnet18"]}, "settings": {"size": 32}})
    found = {m.metric: m.value for m in run_plan(of, tmp_path, tmp_path / "out").records.measurements}
    assert found["accuracy"] == pytest.approx(1 / 3)
