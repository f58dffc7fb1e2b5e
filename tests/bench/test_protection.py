"""The protection suite: what it runs, what it remembers, and when it must not: other data, other masks, other splits, other code."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from attrs import evolve
from PIL import Image
from safetensors import safe_open

from privmed.bench.defences import Adversarial
from privmed.bench.engine import key_of, open_suite, run_plan
from privmed.bench.exploiters import Protocol, exploit
from privmed.bench.fingerprint import fingerprint
from privmed.bench.plan import make_plan
from privmed.bench.runlog import RunLog
from privmed.bench.shorthand import protectors
from privmed.bench.suites import protection
from privmed.cli import run
from privmed.data.folders import ImageFolder
from privmed.errors import InputError, OutputError, PrivmedError, SettingsError
from privmed.interfaces.fitting import Fitting
from privmed.settings import parse_named
from privmed.training.surrogate import Surrogate

QUICK = {"epochs": 1, "learning_rate": 1e-3, "batch": 2, "width": 2}
SPLIT = "train train train test"
LSP = [{"label": "noise", "method": "noise"}, {"label": "lsp", "method": "lsp", "control": "noise"}]


def plan_of(entries=({"label": "unprotected"},), seeds=(0,), grid=None, **settings):
    plain = {"suite": "protection", "data": "set", "entries": list(entries), "seeds": list(seeds), "margins": ["dice"]}
    return make_plan({**plain, "grid": grid or {}, "settings": {"size": 64, "protocol": QUICK, **settings}})


def sets_of(root, **settings):
    return open_suite(plan_of(**settings), root, root / "out").sets("set")


@pytest.fixture
def folder(phantoms, tmp_path):
    return phantoms(tmp_path / "set", split=SPLIT)


def test_a_run_resumes_where_it_stopped(folder, tmp_path):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan, out = plan_of([{"label": "unprotected"}, *LSP], (0, 1)), tmp_path / "out"
    first = run_plan(plan, tmp_path, out).records
    log = (out / "runs.jsonl").read_text()
    assert len(log.splitlines()) == 6
    (out / "runs.jsonl").write_text(log[:-200])  # killed while it wrote the last run
    again = run_plan(plan, tmp_path, out).records
    values = [
        [(m.cell, m.seed, m.value) for m in r.measurements if not m.metric.endswith("time")] for r in (first, again)
    ]
    assert values[0] == values[1]
    kept = sorted((out / "cache/published").iterdir())
    assert len(kept) == 4  # two methods, two seeds; the unprotected set is not kept
    with safe_open(kept[0], "pt") as stored:
        assert stored.get_tensor("images").shape == (3, 1, 64, 64)  # grey files are published in grey
    margins = [m for m in first.measurements if m.metric == "margin" and "epoch" not in m.dimensions]
    assert [(m.method, m.seed) for m in margins] == [("lsp", 0), ("lsp", 1)]
    assert {m.metric for m in first.measurements} >= {"dice", "jaccard", "psnr", "ssim", "fit-time"}
    likeness = [m for m in first.measurements if m.metric == "psnr"]
    assert all(not m.dimensions for m in likeness)


def killed(monkeypatch):
    """Stop a run after its second checkpoint; the list says how far it was at each."""
    honest, kept = Fitting.keep, []

    def keep(fitting, state):
        honest(fitting, state)
        kept.append(state["done"])
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Fitting, "keep", keep)
    return kept


def test_a_killed_run_goes_on_with_its_exploiter(folder, tmp_path, monkeypatch):
    """From its last checkpoint, which goes when the run is done."""
    plan = plan_of(protocol={**QUICK, "epochs": 3})

    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    first = run_plan(plan, tmp_path, whole).records
    kept = killed(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path, parts)
    assert len(list((parts / "cache/exploiters").iterdir())) == 1
    again = run_plan(plan, tmp_path, parts).records
    assert kept == [1, 2, 3]
    assert [(m.cell, m.value) for m in first.measurements] == [(m.cell, m.value) for m in again.measurements]
    assert not list((parts / "cache/exploiters").iterdir())


def test_a_killed_run_goes_on_with_its_protector(folder, tmp_path, monkeypatch):
    """From the last checkpoint of its fit, which goes when the set is published; what the whole fit took is not known then."""
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    quick = {"width": 1, "size": 64, "batch": 2, "rounds": 3, "batches": 1, "steps": 1, "enough": 1.0}
    plan = plan_of([{"label": "em", "method": "em", "settings": quick}])

    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    first = run_plan(plan, tmp_path, whole).records
    kept = killed(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path, parts)
    assert len(list((parts / "cache/protectors").iterdir())) == 1
    again = run_plan(plan, tmp_path, parts).records
    assert kept[:3] == [1, 2, 3]
    assert figures_of(first) == figures_of(again)
    assert [any(m.metric == "fit-time" for m in r.measurements) for r in (first, again)] == [True, False]
    assert not list((parts / "cache/protectors").iterdir())


def test_a_fit_is_kept_until_what_it_made_is(folder, tmp_path, monkeypatch):
    """A disk that is full when the set is kept does not cost the fit."""
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    quick = {"width": 1, "size": 64, "batch": 2, "rounds": 2, "batches": 1, "steps": 1, "enough": 1.0}
    plan, out = plan_of([{"label": "em", "method": "em", "settings": quick}]), tmp_path / "out"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OutputError, match="space"):
            run_plan(plan, tmp_path, out)
    assert len(list((out / "cache/protectors").iterdir())) == 1
    run_plan(plan, tmp_path, out)
    assert not list((out / "cache/protectors").iterdir())


def test_shortcuts_are_of_the_set(folder, tmp_path, monkeypatch):
    """Found once for all exploiters and defences; of the clean images for all seeds, and there of no change."""
    asked, honest = [], protection.shortcut

    def counted(images, masks):
        asked.append(int(images.min()) < 0)
        return honest(images, masks)

    monkeypatch.setattr(protection, "shortcut", counted)
    noise = {"label": "noise", "method": "noise", "settings": {"where": "both"}}
    plan = plan_of([{"label": "unprotected"}, noise], (0, 1), {"defence": ["none", "blur"]})
    found = run_plan(plan, tmp_path, tmp_path / "out").records.measurements
    assert asked == [False, False, True, False, True]
    of = {(m.method, m.metric, m.seed): m for m in found if m.metric.startswith("shortcut")}
    assert {(n, m) for n, m, _ in of} == {
        ("unprotected", "shortcut"), ("noise", "shortcut"), ("noise", "shortcut-change"),
    }  # fmt: skip
    assert all(not m.dimensions for m in of.values())
    assert of["noise", "shortcut-change", 0].value > 0.9


def figures_of(records):
    return [(m.cell, m.value) for m in records.measurements if not m.metric.endswith("time")]


def test_a_run_keeps_the_words_of_the_process_that_made_it(folder, tmp_path, monkeypatch):
    """Who gathers, with another command or more threads, did not measure; a log of before says less, and can be read still."""
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan, out = plan_of(LSP), tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["/somewhere/privmed", "bench", "run", "here.yaml"])
    (there,) = run_plan(plan, tmp_path, out, only=["noise"]).records.provenances.values()
    monkeypatch.setattr("sys.argv", ["/somewhere/privmed", "bench", "run", "here.yaml", "--collect"])
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    (gathered,) = run_plan(plan, tmp_path, out, only=["noise"], collect=True).records.provenances.values()
    assert gathered == there
    assert there.command == "privmed bench run here.yaml"
    log = out / "runs.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k not in ("command", "threads")}) + "\n" for line in lines)
    )
    (old,) = run_plan(plan, tmp_path, out, only=["noise"], collect=True).records.provenances.values()
    assert (old.command, old.threads, old.commit) == ("privmed bench run here.yaml --collect", 77, there.commit)


def test_the_work_can_be_shared(folder, tmp_path):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan, out = plan_of(LSP), tmp_path / "out"
    some = run_plan(plan, tmp_path, out, only=["noise"]).records
    assert {m.method for m in some.measurements} == {"noise"}
    run_plan(plan, tmp_path, out, only=["lsp"], seeds=[3])
    assert {m.seed for m in run_plan(plan, tmp_path, out, collect=True).records.measurements} == {0}
    assert len(RunLog(out / "runs.jsonl")) == 2
    with pytest.raises(SettingsError, match="no such entry; there are noise; lsp"):
        run_plan(plan, tmp_path, out, only=["umed"])


def test_the_constant_baseline_needs_no_training(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("privmed.bench.suites.protection.exploit", lambda *_, **__: 1 / 0)
    plan = plan_of([{"label": "one mask", "method": "constant"}], grid={"defence": ["none", "blur"]})
    found = run_plan(plan, tmp_path, tmp_path / "out").records.measurements
    assert len({m.value for m in found if m.metric == "dice"}) == 1
    assert {m.dimensions["defence"] for m in found} == {"none", "blur"}


def test_a_set_without_masks_is_refused(folder, tmp_path):
    shutil.rmtree(folder / "masks")
    with pytest.raises(InputError, match="no masks"):
        run_plan(plan_of(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out/runs.jsonl").exists()


def test_settings_can_be_chosen_without_opening_the_test_split(folder, tmp_path):
    for name in ("images", "masks"):
        (folder / name / "p3.png").write_bytes(b"not to be opened")
    assert run_plan(plan_of(holdout=0.4), tmp_path, tmp_path / "out").records.measurements
    with pytest.raises(InputError, match=r"holdout 0\.0001 leaves one side empty"):
        run_plan(plan_of(holdout=1e-4), tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match=r"p3\.png"):
        run_plan(plan_of(), tmp_path, tmp_path / "out")


def test_a_defence_added_later_needs_no_new_protection(folder, tmp_path, monkeypatch):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    run_plan(plan_of(LSP), tmp_path, tmp_path / "out")
    monkeypatch.setattr("privmed.bench.suites.protection.Protection._protect", lambda *_: 1 / 0)
    found = run_plan(plan_of(LSP, grid={"defence": ["blur"]}), tmp_path, tmp_path / "out").records
    assert {m.method for m in found.measurements} == {"noise", "lsp"}


STRENGTHS = ["adversarial", "adversarial[epsilon=8/255;steps=2]", "adversarial[epsilon=12/255;steps=2]"]


def test_one_defence_is_asked_for_at_several_strengths(folder, tmp_path, monkeypatch):
    """Each is a cell of its own under its own name, and what it trains on is that strong."""
    found, honest = {}, Adversarial.harden

    def harden(defence, images, loss):
        out = honest(defence, images, loss)
        found.setdefault(round(defence.config.epsilon * 255), []).append(float((out - images).abs().max()) * 255)
        return out

    monkeypatch.setattr(Adversarial, "harden", harden)
    plan, out = plan_of(grid={"defence": STRENGTHS}), tmp_path / "out"
    measured = run_plan(plan, tmp_path, out).records.measurements
    assert {m.dimensions["defence"] for m in measured if m.metric == "dice"} == set(STRENGTHS)
    assert sorted(found) == [4, 8, 12]
    assert all(max(changes) == pytest.approx(epsilon, abs=0.01) for epsilon, changes in found.items())
    found.clear()
    run_plan(plan, tmp_path, out)
    assert not found  # known


def test_settings_of_a_defence_tell_runs_apart_and_leave_those_without_as_they_were(folder, tmp_path):
    suite = open_suite(plan_of(grid={"defence": STRENGTHS}), tmp_path, tmp_path / "out")
    plain, *set_ = suite.cells()
    assert len({key_of(suite, cell) for cell in (plain, *set_)}) == 3
    alone = open_suite(plan_of(grid={"defence": STRENGTHS[:1]}), tmp_path, tmp_path / "out")
    assert key_of(suite, plain) == key_of(alone, *alone.cells())
    assert "defence" not in suite.identity(plain)  # but in its dimensions, as ever
    assert plain.dimensions["defence"] == "adversarial"


@pytest.mark.parametrize(
    ("defence", "words"),
    [
        ("adversarial[epsilon=2]", r"adversarial: epsilon must lie in \[0, 1\], got 2"),
        (
            "adversarial[epsilom=1]",
            "adversarial: no setting 'epsilom'; there are epsilon, steps. Did you mean 'epsilon'",
        ),
        ("blur[sigma=2]", "blur: no setting 'sigma'"),
        ("adversarial[epsilon]", r"expected NAME\[setting=value"),
        ("adversarial[epsilon=8/255", r"expected NAME\[setting=value"),
        ("adversarail[epsilon=8/255]", "no defence is called 'adversarail'.* Did you mean 'adversarial'"),
    ],
)
def test_settings_that_a_defence_does_not_have_are_refused_before_anything_runs(folder, tmp_path, defence, words):
    with pytest.raises(PrivmedError, match=words):
        run_plan(plan_of(grid={"defence": ["none", defence]}), tmp_path, tmp_path / "out")
    log = tmp_path / "out/runs.jsonl"
    assert not log.is_file() or not log.read_text()


def test_what_cannot_run_is_refused_before_anything_runs(folder, tmp_path):
    for plan, words in (
        (plan_of(grid={"exploiters": ["unet"]}), "not exploiters. Did you mean 'exploiter'"),
        (plan_of(grid={"exploiter": ["vnet"]}), "no exploiter is called 'vnet'"),
        (plan_of([{"label": "x", "method": "umedd"}]), "no protector is called 'umedd'"),
        (plan_of(sized=3), "no setting 'sized'"),
        (evolve(plan_of(), metrics=["dicee"]), "no metric is called 'dicee'"),
        (evolve(plan_of(), suite="protect"), "no suite is called 'protect'"),
        (plan_of(size=100), "multiple of 16"),
    ):
        with pytest.raises(Exception, match=words):
            run_plan(plan, tmp_path, tmp_path / "out")


@pytest.mark.parametrize("method", [{"method": "noise", "settings": {"where": "both"}}, {"method": "tint"}])
def test_a_protector_that_keeps_to_regions_is_refused_for_classes(tmp_path, method):
    """Before anything runs, and as it is set: over whole images noise takes classes."""
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for n in range(5):
            Image.new("L", (64, 64), 40 + n).save(tmp_path / f"set/{label}/{n}.png")
    plan = plan_of([{"label": "x", **method}], grid={"exploiter": ["resnet18"]})
    with pytest.raises(
        SettingsError, match=f"x: {method['method']}, as it is set, does not protect classification data"
    ):
        run_plan(plan, tmp_path, tmp_path / "out")
    suite = open_suite(
        plan_of([{"label": "x", "method": "noise"}], grid={"exploiter": ["resnet18"]}), tmp_path, tmp_path / "out"
    )
    suite.prepare()


def test_short_form_of_a_plan():
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    found = {e.label: e for e in protectors("umed[contour=none],em[where=contour],umed[epsilon=8/255]")}
    assert list(found)[:3] == ["constant baseline", "unprotected", "noise, whole image"]
    assert found["umed[contour=none]"].control == "noise, ROI"
    assert found["em[where=contour]"].control == "noise, contour"
    strong = found[found["umed[epsilon=8/255]"].control]
    assert strong.label == "noise, ROI and contour, 8/255"
    assert strong.settings == {"where": "both", "epsilon": 8 / 255}
    assert parse_named("umed[robust=true;cycles=3]") == ("umed", {"robust": True, "cycles": 3})
    with pytest.raises(SettingsError, match="expected NAME"):
        parse_named("umed[robust=true")


def test_short_form_of_the_command(folder, tmp_path, capsys):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    command = [
        "bench",
        "protection",
        "--data",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--methods",
        "lsp",
        "--seeds",
        "1",
    ]
    sets = [f"--set=protocol.{k}={v}" for k, v in QUICK.items()]
    assert run([*command, "--set=size=64", *sets, "--workers", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert "| lsp |" in said.err
    assert json.loads(said.out)["measurements"] > 10
    assert {p.suffix for p in (tmp_path / "out").glob("protection.*")} == {".jsonl", ".md", ".html", ".json", ".yaml"}
    assert "data:image/png" in (tmp_path / "out/protection.html").read_text()


def test_masks_of_0_and_1_are_those_of_0_and_255(phantoms, tmp_path):
    a, b = (sets_of(phantoms(tmp_path / str(k) / "set", foreground=k, split=SPLIT).parent) for k in (1, 255))
    assert a[0][1].any()
    assert all(torch.equal(x[1], y[1]) for x, y in zip(a, b))


def test_a_set_of_empty_masks_is_refused(phantoms, tmp_path):
    with pytest.raises(InputError, match="are empty"):
        sets_of(phantoms(tmp_path / "set", foreground=0, split=SPLIT).parent)


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
    out = tmp_path / "out"
    for split in (SPLIT, "test train train train"):
        phantoms(tmp_path / "set", split=split)
        run_plan(plan_of(LSP), tmp_path, out)
    assert len(RunLog(out / "runs.jsonl")) == 4
    assert len(list((out / "cache/published").iterdir())) == 4


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
        "privmed.bench.exploiters._step", lambda model, *_: starts.append(next(model.parameters()).clone())
    )
    exploit("unet", (images, masks), (images, masks), Protocol(**QUICK))
    torch.manual_seed(0)
    rival = next(Surrogate(0, QUICK["width"]).parameters())
    assert rival.shape == starts[0].shape
    assert not torch.equal(starts[0], rival)


def test_controls_are_as_wide_and_as_strong_as_what_they_are_held_against():
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    found = {c.label: c for c in protectors("umed[texture=none;contour_kernel=9],lsp[epsilon=8/255]")}
    wide = found[found["umed[texture=none;contour_kernel=9]"].control]
    assert wide.settings == {"where": "contour", "contour_kernel": 9}
    assert found["lsp[epsilon=8/255]"].control == "noise, whole image, 8/255"
    assert found["noise, whole image, 8/255"].settings["epsilon"] == 8 / 255
    assert found["noise, whole image"].settings == {"where": "image"}


def test_workers_measure_what_one_process_measures(folder, tmp_path):
    """Cells of one entry, data set and seed go to one worker, which keeps what they share."""
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    from privmed.jobs import Job
    from privmed.jobs.pool import Processes

    plan = plan_of([{"label": "unprotected"}, *LSP], (0,))
    one = run_plan(plan, tmp_path, tmp_path / "one").records
    two = run_plan(plan, tmp_path, tmp_path / "two", job=Job("bench", Processes(2), strict=True)).records
    values = [[(m.cell, m.seed, m.value) for m in r.measurements if not m.metric.endswith("time")] for r in (one, two)]
    assert sorted(values[0], key=str) == sorted(values[1], key=str)
    assert len(values[0]) > 3
