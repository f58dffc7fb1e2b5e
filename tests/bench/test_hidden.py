"""The suites of hiding and of covert analysis, on toys whose figures are known."""

import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from privmed import registry, weights
from privmed.bench.answers import Classes, Masks, foretold
from privmed.bench.covers import ALL, GROUPS, Photographs, brightness, clipped, texture
from privmed.bench.data import Dataset, Sample
from privmed.bench.engine import open_suite, run_plan
from privmed.bench.metrics import Dice, FalseArea, Missed, Silent
from privmed.bench.plan import make_plan
from privmed.bench.readers import read_dataset
from privmed.bench.suites.hiding import sampled
from privmed.errors import InputError, SettingsError, WeightsError


def values(plan, root):
    records = run_plan(plan, root, root / "out").records
    return {
        tuple(m.fields.get(k, "") for k in ("metric", "method", "pair", "statistic")): m for m in records.measurements
    }


def test_hiding_is_measured_after_the_file(toys):
    plain = {"suite": "hiding", "data": "scans", "entries": [{"label": "faint", "method": "faint"}]}
    plan = make_plan({**plain, "grid": {"cover": ["photos"]}, "settings": {"size": 64, "covers": 2}})
    found = values(plan, toys)
    two_levels = -20 * math.log10(2 / 255)
    assert found["psnr", "faint", "stego-cover", ""].value == pytest.approx(two_levels, abs=1e-3)
    assert found["psnr", "faint", "stego-cover", ""].n == 3
    assert found["psnr", "faint", "stego-cover", "worst 5 %"].value == pytest.approx(two_levels, abs=1e-3)
    assert found["psnr", "faint", "stego-cover", "worst patch"].value == pytest.approx(two_levels, abs=1e-2)
    assert found["psnr-y", "faint", "stego-cover", ""].value > two_levels
    assert found["ssim", "faint", "secret-recovered", ""].value == pytest.approx(1, abs=1e-4)


def test_how_far_a_plan_is_counts_runs_that_are_done(toys):
    plain = {"suite": "hiding", "data": "scans", "entries": [{"label": "faint", "method": "faint"}]}
    plan = make_plan({**plain, "grid": {"cover": ["photos"]}, "seeds": [0, 1], "settings": {"size": 64, "covers": 1}})
    told = []
    run_plan(plan, toys, toys / "out", progress=lambda *said: told.append(said))
    first, second = (f"faint, scans, photos, all, 0, seed {seed}" for seed in (0, 1))
    within = [f"run {n} of 2, faint on scans" for n in (1, 2)]
    assert told == [
        (0, 2, first),
        *((n, 3, within[0]) for n in (1, 2, 3)),
        (1, 2, first),
        (1, 2, second),
        *((n, 3, within[1]) for n in (1, 2, 3)),
        (2, 2, second),
    ]
    told.clear()
    run_plan(plan, toys, toys / "out", progress=lambda *said: told.append(said))
    assert told[-1][:2] == (2, 2)


def test_identical_images_have_no_finite_psnr_to_publish(toys):
    plain = {"suite": "hiding", "data": "scans", "entries": [{"label": "faint", "method": "faint"}]}
    plan = make_plan({**plain, "grid": {"cover": ["photos"]}, "settings": {"size": 64, "covers": 2}})
    found = values(plan, toys)
    assert ("psnr", "faint", "secret-recovered", "") not in found
    assert found["identical", "faint", "secret-recovered", ""].value == 1
    assert found["identical", "faint", "secret-recovered", ""].n == 6


def test_a_file_is_the_scan_and_lies_in_a_larger_photograph(toys):
    pytest.importorskip("cryptography", reason="needs privmed[keys]")
    plain = {"suite": "hiding", "data": "scans", "entries": [{"label": "pocket", "method": "pocket"}]}
    settings = {"size": 64, "covers": 2, "room": 96}
    found = values(make_plan({**plain, "grid": {"cover": ["photos"]}, "settings": settings}), toys)
    assert registry.load("hider", "pocket").kept["size"] == (96, 96, 3)
    assert found["psnr", "pocket", "stego-cover", ""].value == pytest.approx(-20 * math.log10(1 / 255), abs=1e-3)
    assert found["identical", "pocket", "secret-recovered", ""].value == 1
    assert found["identical", "pocket", "secret-recovered", ""].n == 6
    with pytest.raises(SettingsError, match="pocket carries files"):
        run_plan(
            make_plan({**plain, "grid": {"cover": ["photos"], "refine": [2]}, "settings": settings}), toys, toys / "o"
        )


def test_weights_lie_in_the_folder_of_models(toys, tmp_path):
    pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
    from privmed.weights import save

    (tmp_path / "models").mkdir()
    save(registry.hider("lightih", weights=None), tmp_path / "models/own.safetensors", about="untrained")
    plain = {"suite": "hiding", "data": "scans", "grid": {"cover": ["photos"]}, "settings": {"size": 64, "covers": 1}}
    plan = make_plan({**plain, "entries": [{"label": "own", "method": "lightih", "weights": "own.safetensors"}]})
    found = run_plan(plan, toys, toys / "out", models=tmp_path / "models").records.measurements
    assert {m.method for m in found} == {"own"}
    covert = {**plain, "suite": "covert", "entries": [{"label": "bright", "method": "bright"}]}
    covert["grid"] = {"cover": ["photos"], "hider": ["lightih:own.safetensors"]}
    found = run_plan(make_plan(covert), toys, toys / "out", models=tmp_path / "models").records.measurements
    assert {m.fields["hider"] for m in found} == {"lightih:own.safetensors"}
    with pytest.raises(WeightsError, match=r"own\.safetensors"):
        run_plan(plan, toys, toys / "other")


def test_a_scan_sent_as_a_file_is_analysed_by_who_takes_it_out(toys):
    """As well as bare images, since it is one; no answer goes back in a photograph."""
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "bright", "method": "bright"}]}
    grid = {"cover": ["photos"], "hider": ["none", "pocket"]}
    plan = make_plan({**plain, "grid": grid, "settings": {"size": 64, "room": 96, "covers": 2, "nothing": True}})
    found = {}
    for m in run_plan(plan, toys, toys / "out").records.measurements:
        found[m.fields.get("hider", ""), m.metric, m.fields.get("pair", "")] = m
    assert registry.load("hider", "pocket").kept["size"] == (96, 96, 3)
    assert found["pocket", "dice", ""].value == found["", "dice", ""].value
    assert (found["pocket", "identical", ""].value, found["pocket", "identical", ""].n) == (1, 6)
    assert found["pocket", "psnr", "stego-cover"].value == pytest.approx(-20 * math.log10(1 / 255), abs=1e-3)
    assert {pair for hider, _, pair in found if hider == "pocket"} == {"", "stego-cover"}
    plan = make_plan({**plain, "grid": {**grid, "hider": ["pocket:own"]}, "settings": {"size": 64}})
    with pytest.raises(SettingsError, match="pocket has no weights"):
        run_plan(plan, toys, toys / "other")
    plan = make_plan({**plain, "grid": {**grid, "wire": ["png", "jpeg90"]}, "settings": {"size": 64}})
    with pytest.raises(SettingsError, match="what pocket carries does not arrive through jpeg90"):
        run_plan(plan, toys, toys / "other")


def test_covert_analysis_beside_bare_images(toys):
    entries = [
        {"label": "bare", "method": "bright", "grid": {"hider": ["none"]}},
        {"label": "covert", "method": "bright", "control": "bare"},
    ]
    plain = {"suite": "covert", "data": "scans", "entries": entries, "ratios": ["dice"]}
    grid = {"cover": ["photos"], "hider": ["faint"]}
    found = values(make_plan({**plain, "grid": grid, "settings": {"size": 64, "covers": 2}}), toys)
    assert found["dice", "covert", "", ""].value == pytest.approx(1)
    bare = found["dice", "bare", "", ""]
    assert 0 < bare.value < 1
    assert bare.dimensions == {}
    assert found["ratio", "covert", "", ""].value == pytest.approx(1 / bare.value)
    assert found["psnr", "covert", "response-cover", ""].value == pytest.approx(-20 * math.log10(2 / 255), abs=1e-3)


def test_entries_that_are_not_run_need_no_weights_here(toys):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    bare = {"label": "bare", "method": "unet", "weights": "elsewhere.safetensors", "grid": {"hider": ["none"]}}
    entries = [bare, {"label": "covert", "method": "bright", "control": "bare"}]
    plan = {"suite": "covert", "data": "scans", "entries": entries, "ratios": ["dice"], "settings": {"size": 64}}
    plan = make_plan({**plan, "grid": {"cover": ["photos"], "hider": ["faint"]}})
    with pytest.raises(WeightsError, match="elsewhere"):
        run_plan(plan, toys, toys / "out")
    found = run_plan(plan, toys, toys / "out", only=["covert"]).records.measurements
    assert {m.method for m in found} == {"covert"}
    with pytest.raises(WeightsError, match="elsewhere"):
        run_plan(plan, toys, toys / "out", only=["bare"])


def test_images_without_a_lesion_are_judged_apart(toys):
    """Of three images the last has no lesion, and the analyzer marks what is bright in it."""
    Image.new("L", (64, 64)).save(toys / "scans/masks/2.png")
    entries = [{"label": "covert", "method": "bright"}]
    plain = {"suite": "covert", "data": "scans", "entries": entries, "metrics": ["dice", "false-area", "silent"]}
    grid = {"cover": ["photos"], "hider": ["faint"]}
    found = values(make_plan({**plain, "grid": grid, "settings": {"size": 64, "covers": 2}}), toys)
    assert found["false-area", "covert", "", ""].value == pytest.approx(18 * 32 / 64**2)
    assert found["false-area", "covert", "", ""].n == 1
    assert found["silent", "covert", "", ""].value == 0
    assert found["dice", "covert", "", ""].n == 3
    Image.new("L", (64, 64), 255).save(toys / "scans/masks/2.png")
    found = values(make_plan({**plain, "name": "full", "grid": grid, "settings": {"size": 64, "covers": 2}}), toys)
    assert ("false-area", "covert", "", "") not in found


def test_silence_is_right_where_nothing_is_and_a_miss_where_a_lesion_is():
    """Images without a lesion do not count as missed, nor those with one as silent."""
    truth, found = torch.zeros(4, 1, 20, 20), torch.zeros(4, 1, 20, 20)
    truth[:2, :, 5:9, 5:9], found[1:3, :, 5:9, 5:9] = 1, 1
    metrics = {name: registry.part("metric", name)(found, truth).tolist() for name in ("silent", "missed")}
    assert metrics == {"silent": [math.inf, math.inf, 0, 1], "missed": [1, 0, math.inf, math.inf]}


@pytest.mark.parametrize(
    ("method", "dark", "rightly"), [("telling", False, 1), ("bright", False, 0), ("bright", True, 1)]
)
def test_photographs_without_a_scan_are_refused_or_answered_by_nothing(toys, method, dark, rightly):
    if dark:
        for path in (toys / "photos").glob("*.png"):
            Image.new("RGB", (80, 64), (20, 20, 20)).save(path)
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "one", "method": method}]}
    grid = {"cover": ["photos"], "hider": ["open"]}
    found = values(make_plan({**plain, "grid": grid, "settings": {"size": 64, "covers": 2, "nothing": True}}), toys)
    assert found["nothing-refused", "one", "", ""].value == rightly
    assert found["hidden-refused", "one", "", ""].value == 0
    assert found["nothing-refused", "one", "", ""].n == 6  # photographs


def test_how_much_an_answer_depends_on_the_photograph(toys):
    """What is hidden in dark photographs is found, what is hidden in bright ones is not: 1 and 0."""
    for n, level in enumerate((20, 235, 20)):
        Image.new("RGB", (64, 64), (level,) * 3).save(toys / f"photos/{n}.png")
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "one", "method": "bright"}]}
    plan = {**plain, "grid": {"cover": ["photos"], "hider": ["moody"]}, "settings": {"size": 64, "covers": 3}}
    found = values(make_plan(plan), toys)["dice-spread", "one", "", ""]
    assert found.value == pytest.approx(1 / math.sqrt(3))
    plan["grid"]["hider"] = ["open"]
    assert values(make_plan(plan), toys)["dice-spread", "one", "", ""].value == 0


def test_answers_to_one_scan_are_judged_as_one(toys):
    """Found in two photographs of three: the average finds all, and disagreement is two pairs of three."""
    for n, level in enumerate((20, 235, 20)):
        Image.new("RGB", (64, 64), (level,) * 3).save(toys / f"photos/{n}.png")
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "one", "method": "bright"}]}
    plan = {**plain, "grid": {"cover": ["photos"], "hider": ["moody"]}, "settings": {"size": 64, "covers": 3}}
    found = values(make_plan(plan), toys)
    assert found["dice", "one", "", ""].value == pytest.approx(2 / 3, abs=0.05)
    assert found["dice-together", "one", "", ""].value > 0.85  # as good as one that finds it
    assert found["disagreement", "one", "", ""].value == pytest.approx(2 / 3)
    kept = found["dice-together", "one", "", ""]  # of every image, for those who compare
    assert sum(kept.each) / 3 == pytest.approx(kept.value, abs=1e-4)
    assert ("foretold", "one", "", "") not in found  # all scans alike
    plan["settings"]["covers"] = 1
    assert ("dice-together", "one", "", "") not in values(make_plan(plan), toys)


def test_averaged_answers_are_judged_by_what_they_mark(toys):
    """A lesion found in two photographs of three is not missed; a scan without one, marked in one of three, is left alone."""
    judge = Masks([Missed(), Silent(), FalseArea(), Dice()], 16)
    lesion, none, marked = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    lesion[..., :4], marked[..., :8] = 1, 0.9
    found = judge.together(torch.cat([lesion, lesion, none]), lesion)
    assert found["missed-together"].tolist() == [0]
    assert found["dice-together"].tolist() == [1]
    assert not found["silent-together"].isfinite().any()  # it says nothing of scans with a lesion
    empty = judge.together(torch.cat([marked, none, none]), none)
    assert empty["silent-together"].tolist() == [1]
    assert empty["false-area-together"].tolist() == [0]
    twice = judge.together(torch.cat([marked, marked, none]), none)
    assert twice["silent-together"].tolist() == [0]
    assert twice["false-area-together"].tolist() == [0.5]


def test_a_row_of_a_file_rests_on_who_carries_it(toys, monkeypatch):
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "bright", "method": "bright"}]}
    plan = make_plan({**plain, "grid": {"cover": ["photos"], "hider": ["pocket"]}, "settings": {"size": 64}})
    suite = open_suite(plan, toys, toys / "out")
    (cell,) = suite.cells()
    before, seen = suite.identity(cell), []
    monkeypatch.setattr("privmed.bench.suites.covert.fingerprint", lambda *names: seen.extend(names) or str(names))
    assert before["room"][0] == suite.config.room
    suite.identity(cell)
    assert {"toy_methods", "privmed.bench.suites.hiding"} <= set(seen)


def test_disagreement_foretells_by_ranks():
    apart, right = ([torch.tensor([x]) for x in row] for row in ((0.1, 0.2, 0.9, 0.4), (0.9, 0.8, 0.1, 0.2)))
    (said,) = foretold(apart, right)
    assert (said.value, said.n) == (pytest.approx(-1), 4)
    (said,) = foretold(
        [*apart, torch.tensor([0.0])], [*right, torch.tensor([torch.inf])]
    )  # an image that Dice is not for
    assert (said.value, said.n) == (pytest.approx(-1), 4)
    assert foretold(apart, [right[0]] * 4) == []


def test_classes_of_one_image_are_averaged_and_counted_once_for_the_curve():
    metrics = [registry.part("metric", "accuracy")]
    judge = Classes(metrics, 64, ["a", "b"])
    found = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    judge.judged(found, torch.tensor([0]))
    said = judge.together(found, torch.tensor([0]))
    assert said["accuracy-together"].tolist() == [1]  # 0.57 for a, where two of three say b
    assert said["disagreement"].item() == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert len(judge.found) == 1


def test_scans_that_are_refused_are_counted(toys):
    """Of three scans one is not dark in its corner."""
    scan = Image.open(toys / "scans/images/0.png")
    scan.paste(255, (0, 0, 8, 8))
    scan.save(toys / "scans/images/0.png")
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "one", "method": "telling"}]}
    plan = {**plain, "grid": {"cover": ["photos"], "hider": ["open"]}, "settings": {"size": 64, "covers": 2}}
    assert ("hidden-refused", "one", "", "") not in values(make_plan(plan), toys)  # nobody asked
    plan["settings"]["nothing"] = True
    assert values(make_plan(plan), toys)["hidden-refused", "one", "", ""].value == pytest.approx(1 / 3)


def test_one_class_of_a_folder_whose_images_have_no_lesion(toys):
    for name in ("normal", "benign"):
        (toys / "classes" / name).mkdir(parents=True)
        shutil.copy(toys / "scans/images/0.png", toys / f"classes/{name}/0.png")
    settings = {"only": "normal", "masks": "none"}
    (sample,) = read_dataset(toys / "classes", "folder", settings).samples
    assert (sample.name, sample.label) == ("normal/0.png", "normal")
    assert sample.mask().shape == (1, 1, 64, 64)
    assert not sample.mask().any()
    with pytest.raises(InputError, match="masks in other/"):
        read_dataset(toys / "classes", "folder", {"masks": "other"})
    plain = {"suite": "covert", "data": "classes", "entries": [{"label": "one", "method": "bright"}]}
    plan = {**plain, "reader": "folder", "reader_settings": settings, "metrics": ["silent"]}
    grid = {"grid": {"cover": ["photos"], "hider": ["open"]}, "settings": {"size": 64, "covers": 2}}
    (toys / "classes/split.csv").write_text("file,split\nnormal/0.png,test\n")
    assert values(make_plan({**plan, **grid}), toys)["silent", "one", "", ""].value == 0  # photographs have no classes


def test_an_analyzer_of_several_classes_needs_masks_that_hold_their_numbers(toys, tmp_path):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    weights.save(registry.create("analyzer", "unet", None, width=2, mask_classes=3), tmp_path / "u.safetensors")
    entries = [{"label": "unet", "method": "unet", "weights": str(tmp_path / "u.safetensors")}]
    plan = make_plan({"suite": "covert", "data": "scans", "entries": entries, "grid": {"cover": ["photos"]}})
    with pytest.raises(InputError, match=r"holds class 255, but mask_classes is 3 \(0 to 2\)"):
        run_plan(plan, toys, toys / "out")


def test_an_analyzer_without_trained_weights_is_refused(toys):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    plain = {"suite": "covert", "data": "scans", "entries": [{"label": "unet", "method": "unet"}]}
    plan = make_plan({**plain, "grid": {"cover": ["photos"]}, "settings": {"size": 64}})
    if registry.analyzer("unet").card is None:
        with pytest.raises(WeightsError, match="no trained weights"):
            run_plan(plan, toys, toys / "out")


def test_the_same_image_gets_the_same_covers():
    pictures = [
        Sample(name=str(n), image=lambda n=n: torch.full((1, 3, 32, 40), n / 9), split="test") for n in range(9)
    ]
    first, second = (Photographs(Dataset("p", pictures), 32, 4) for _ in range(2))
    assert torch.equal(first.of(7), second.of(7))
    assert len({float(x.mean()) for x in first.of(7)}) == 4
    assert not torch.equal(first.of(7), first.of(8))


def painted(name, pixels):
    return Sample(name=name, image=lambda: torch.as_tensor(pixels, dtype=torch.float32)[None] / 255, split="test")


def test_groups_of_photographs_by_hand():
    steps = torch.zeros(3, 8, 8, dtype=torch.uint8)
    steps[:, :, 1::2] = 20  # 20 levels to each side neighbour, none up or down
    assert texture(steps) == 10
    assert brightness(steps) == pytest.approx(10 / 255)
    assert clipped(steps) == 0.5
    assert clipped(torch.full((3, 4, 4), 255, dtype=torch.uint8)) == 1


def test_a_group_holds_its_photographs_only():
    rng = np.random.default_rng(0)
    flat, grainy = np.full((3, 32, 32), 128), rng.integers(60, 200, (3, 32, 32))
    pictures = [
        painted("dark", flat // 4),
        painted("smooth", flat),
        painted("textured", grainy),
        painted("clipped", np.where(grainy > 130, 255, 120)),
    ]
    held = {
        group: {f.name for f in Photographs(Dataset("p", pictures), 32, 4, group).files} for group in (ALL, *GROUPS)
    }
    assert held == {
        "all": {"dark", "smooth", "textured", "clipped"},
        "clipped": {"clipped"},
        "dark": {"dark"},
        "smooth": {"dark", "smooth"},
        "textured": {"textured", "clipped"},
    }
    with pytest.raises(InputError, match="none of its test photographs is clipped"):
        Photographs(Dataset("p", pictures[:2]), 32, 4, "clipped")


def test_groups_are_rows_and_all_photographs_need_no_word(toys):
    plain = {"suite": "hiding", "data": "scans", "entries": [{"label": "lightih", "method": "lightih"}]}
    plan = {
        **plain,
        "grid": {"cover": ["photos"], "group": ["all", "textured"]},
        "settings": {"size": 64, "covers": 1, "limit": 1},
    }
    records = run_plan(make_plan(plan), toys, toys / "out").records
    assert {m.dimensions.get("group") for m in records.measurements} == {None, "textured"}
    with pytest.raises(SettingsError, match="Did you mean 'textured'"):
        run_plan(make_plan({**plan, "grid": {"cover": ["photos"], "group": ["texture"]}}), toys, toys / "other")


def test_large_sets_are_sampled_evenly():
    assert sampled(list(range(100)), 40) == list(range(0, 100, 2))
    assert sampled(list(range(100)), 0) == list(range(100))
    assert sampled(list(range(30)), 40) == list(range(30))
