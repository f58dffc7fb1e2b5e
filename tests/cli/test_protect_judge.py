"""``privmed protect --judge quick``: what small models learn from what was published, and that nobody is told so who did not ask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from attrs import evolve
from PIL import Image

from privmed.bench.exploiters import Outcome
from privmed.cli import run
from privmed.data import judge as judging
from privmed.data.samples import ultrasound_phantom
from privmed.interfaces.fitting import Fitting

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Trainings of seconds."""
    monkeypatch.setattr(judging, "SIDE", 32)
    tiny = evolve(judging.PROTOCOL, epochs=2, width=2)
    monkeypatch.setattr(judging.judge, "__kwdefaults__", {**judging.judge.__kwdefaults__, "protocol": tiny})


@pytest.fixture
def folder(tmp_path):
    """Eleven pairs, three of them for testing."""
    root, rows = tmp_path / "set", ["file,split"]
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(11):
        image, mask = ultrasound_phantom(i, side=48)
        Image.fromarray((image[0, 0].numpy() * 255).round().astype(np.uint8)).save(root / f"images/p{i}.png")
        Image.fromarray((mask[0, 0].numpy() * 255).astype(np.uint8)).save(root / f"masks/p{i}.png")
        rows.append(f"p{i}.png,{'test' if i > 7 else 'train'}")
    (root / "split.csv").write_text("\n".join(rows))
    return root


def protect(folder, out, *more):
    return run(["protect", str(folder), "-o", str(out), *NOISE, *more])


def manifest(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def test_without_it_result_and_manifest_say_that_nothing_was_judged(folder, tmp_path, capsys):
    assert protect(folder, tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["judged"] == judging.UNJUDGED
    assert {line["judged"] for line in manifest(tmp_path / "out")} == {judging.UNJUDGED}


def test_it_says_what_was_learnt_undefended_and_after_a_defence(folder, tmp_path, capsys):
    assert protect(folder, tmp_path / "out", "--judge", "quick", "--json") == 0
    found = json.loads(capsys.readouterr().out)["judged"]
    assert found["images"] == [8, 3]
    assert list(found["defences"]) == ["blur", "jpeg60"]
    worse = max(found["defences"], key=found["defences"].get)
    assert found["defended"] == found["defences"][worse]
    assert (found["metric"], found["defence"], found["epochs"], found["width"]) == ("dice", worse, 2, 2)
    assert all(0 <= found[name] <= 1 for name in ("constant", "unprotected", "undefended", "defended"))
    assert all(line["judged"] == found for line in manifest(tmp_path / "out"))
    assert not list(tmp_path.glob(".out*"))
    assert protect(folder, tmp_path / "again", "--judge", "quick") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a small unet learns" in said
    other = next(name for name in found["defences"] if name != worse)
    assert f"after the defence {worse}" in said
    assert f"{found['defended']:.2f}; after {other} {found['defences'][other]:.2f}" in said


def test_exploiters_get_what_was_published_and_are_judged_on_clean_test_images(folder, tmp_path, monkeypatch):
    seen, honest = [], judging.exploit
    monkeypatch.setattr(
        judging,
        "exploit",
        lambda n, train, test, *a, **k: seen.append((train, test, a[1])) or honest(n, train, test, *a, **k),
    )
    assert protect(folder, tmp_path / "out", "--split", "train", "--judge", "quick", "-q") == 0
    (clean, test, _), (bare, _, none), (defended, _, blur), (again, _, jpeg) = seen
    assert (none, blur, jpeg) == ("none", "blur", "jpeg60")
    assert 0 < float((bare[0].float() - clean[0].float()).abs().max()) <= 8  # scaling overshoots
    assert bool((bare[0] == defended[0]).all() and (bare[0] == again[0]).all())
    assert len(test[0]) == 3
    with Image.open(folder / "images/p8.png") as file:
        wanted = np.array(file.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS))[..., 0]
    assert any(np.array_equal(one[0].numpy(), wanted) for one in test[0])


def test_an_interrupted_judgement_goes_on_and_a_finished_one_is_not_repeated(folder, tmp_path, monkeypatch):
    whole, parts, kept, honest = tmp_path / "whole", tmp_path / "parts", [], Fitting.keep
    assert protect(folder, whole, "--judge", "quick", "-q") == 0

    def keep(fitting, state):
        honest(fitting, state)
        kept.append(state["done"])
        if len(kept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Fitting, "keep", keep)
    assert protect(folder, parts, "--judge", "quick", "-q") == 130
    assert {line["judged"] for line in manifest(parts)} == {judging.UNJUDGED}
    assert protect(folder, parts, "--judge", "quick", "-q", "--resume") == 0
    assert kept == [1, 2] * 4
    assert (parts / "manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()
    assert protect(folder, parts, "--judge", "quick", "-q", "--resume") == 0
    assert protect(folder, parts, "-q", "--resume") == 0
    assert len(kept) == 8
    assert isinstance(manifest(parts)[0]["judged"], dict)


def test_what_is_protected_anew_is_no_longer_judged(folder, tmp_path):
    out = tmp_path / "out"
    assert protect(folder, out, "--judge", "quick", "-q") == 0
    (out / "images/p0.png").unlink()
    assert protect(folder, out, "-q", "--resume") == 0
    assert {line["judged"] for line in manifest(out)} == {judging.UNJUDGED}


def test_too_few_images_are_refused_before_anything_is_written(folder, tmp_path, capsys):
    (folder / "split.csv").write_text("file,split\n" + "".join(f"p{i}.png,train\n" for i in range(5)))
    assert protect(folder, tmp_path / "out", "--judge", "quick") == 2
    assert "expected at least 8 and 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert protect(folder, tmp_path / "out", "--judge", "thorough") == 2
    assert "expected quick" in capsys.readouterr().err


def test_classes_are_judged_by_accuracy(tmp_path, capsys):
    pytest.importorskip("monai")
    rng = np.random.default_rng(0)
    for label, level in (("a", 60), ("b", 180)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for n in range(12):
            pixels = np.clip(rng.normal(level, 5, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"set/{label}/{n}.png")
    command = ["protect", str(tmp_path / "set"), "-o", str(tmp_path / "out"), "--protector", "noise"]
    assert run([*command, "--judge", "quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["judged"]
    assert (found["metric"], found["network"], list(found["defences"])) == ("accuracy", "resnet18", ["grey", "blur"])


@pytest.mark.parametrize(("protector", "tried"), [("noise", ["blur", "jpeg60"]), ("waves", ["blur", "notch"])])
def test_defences_fit_the_method_and_the_worse_of_two_is_told(folder, tmp_path, capsys, monkeypatch, protector, tried):
    """After the second defence everything is learnt: that is what the publisher has to hear."""

    def exploit(network, train, test, protocol, defence, **more):
        value = {"none": 0.9, tried[1]: 0.8}.get(defence, 0.1)
        return Outcome(last={"dice": value}, best={}, curve=[], per_image=[])

    monkeypatch.setattr(judging, "exploit", exploit)
    command = ["protect", str(folder), "-o", str(tmp_path / "out"), "--protector", protector]
    assert run([*command, "--judge", "quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["judged"]
    assert found["defences"] == {tried[0]: 0.1, tried[1]: 0.8}
    assert (found["defence"], found["defended"]) == (tried[1], 0.8)
    assert all(line["judged"] == found for line in manifest(tmp_path / "out"))
    assert dict(judging.sentences(found))[f"after the defence {tried[1]}"] == f"0.80; after {tried[0]} 0.10"


def test_a_judgement_of_an_earlier_version_is_told_still():
    found = {"metric": "dice", "network": "unet", "constant": 0.2, "unprotected": 0.7, "undefended": 0.1}
    rows = dict(judging.sentences({**found, "defence": "blur", "defended": 0.6}))
    assert rows["after the defence blur"] == "0.60"
