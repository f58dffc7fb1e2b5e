"""Plugins of third parties, built and installed by pip beside the wheels: one of each kind, and some that are not in order."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from environment import ROOT, Environment, build_all, links, third_parties
from PIL import Image

from privmed.scaffold import KINDS


@pytest.fixture(scope="module")
def crowd(wheels, third, tmp_path_factory):
    """An environment after ``pip install privmed[all]``, to which strangers come."""
    made = Environment(tmp_path_factory.mktemp("crowd") / "env", third)
    made.pip("install", "--find-links", wheels, "privmed[all]")
    return made


@pytest.fixture(scope="module")
def pytest_there(tmp_path_factory):
    """What brings pytest, and nothing else, into an environment."""
    third = links(third_parties("pytest", set(), {}), tmp_path_factory.mktemp("tools") / "third")
    return {"PYTHONPATH": str(third)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where plugins are written; with ``set/``, ``classes/`` and ``covers/``."""
    root = tmp_path_factory.mktemp("generated")
    y, x = np.mgrid[0:64, 0:64] / 64
    for n in range(10):
        scan = (150 + 60 * np.sin(5 * x + n) * np.cos(4 * y)).astype(np.uint8)
        mask = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.04).astype(np.uint8) * 255
        for folder, plane in (
            ("set/images", scan),
            ("set/masks", mask),
            (f"classes/{'ab'[n % 2]}", scan),
            ("covers", scan),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(plane).save(root / folder / f"{n}.png")
    return root


@pytest.fixture(scope="module")
def generated(crowd, root):
    """A plugin of every kind, written by the installed privmed, built and installed beside it."""
    crowd.privmed(*(["plugins", "new", f"new-{kind}", "--kind", kind, "-q"] for kind in KINDS), cwd=root)
    build_all([root / f"privmed-new-{kind}" for kind in KINDS], root / "wheels")
    crowd.pip("install", "--find-links", root / "wheels", *(f"privmed-new-{kind}" for kind in KINDS))
    return crowd


def test_one_distribution_brings_every_part_of_a_table_and_a_command(crowd, tmp_path):
    shutil.copytree(ROOT / "tests/acme", tmp_path / "acme")
    build_all([tmp_path / "acme"], tmp_path / "wheels")
    crowd.pip("install", "--find-links", tmp_path / "wheels", "acme")
    rng = np.random.default_rng(0)
    planes = np.stack([rng.random((10, 32, 32)), rng.random((10, 32, 32)) > 0.5], 1).astype("f4")
    np.save(tmp_path / "scans.npy", planes)
    told = crowd.privmed(
        ["bench", "run", tmp_path / "acme/plan.yaml", "--data", tmp_path, "-o", tmp_path / "out", "--quiet"],
        ["bench", "table", tmp_path / "out"],
        ["plugins", "check", "acme"],
        ["shout", "hello"],
        cwd=tmp_path,
    )
    head, row = told.splitlines()[0], next(line for line in told.splitlines() if line.startswith("| acme |"))
    assert "found area, linear, darken" in head  # metric, exploiter and defence; the reader read the data
    assert row.count("|") == head.count("|")  # the protector has a figure in every column
    assert told.rstrip().endswith("HELLO")


def test_the_plugin_of_the_guide_installs_as_it_stands(crowd, pytest_there, tmp_path):
    guide = (ROOT / "docs/write-a-plugin.md").read_text(encoding="utf-8")
    shown = {name: body for name, body in re.findall(r"```\w+\n# (\S+)\n(.*?)```", guide, re.DOTALL)}
    assert shown.keys() == {"privmed_acme.py", "pyproject.toml", "test_mix.py"}
    for name, body in shown.items():
        (tmp_path / name).write_text(body)
    build_all([tmp_path], tmp_path / "wheels")
    crowd.pip("install", "--find-links", tmp_path / "wheels", "privmed-acme")
    (tmp_path / "tests").mkdir()
    shutil.move(tmp_path / "test_mix.py", tmp_path / "tests")
    crowd.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mix.py", cwd=tmp_path / "tests", **pytest_there
    )


def test_their_own_tests_pass(generated, root, pytest_there):
    folders = [p / "tests" for p in sorted(root.glob("privmed-new-*"))]
    assert len(folders) == len(KINDS)
    how = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
    generated.run("python", "-m", "pytest", *how, *folders, cwd=root, **pytest_there)


QUICK_CHECKS = ("hider", "analyzer", "defence", "dataset")
"""Kinds that are checked once more; the tests of all, above, run the same checks."""


def test_they_pass_the_check_as_installed(generated, root):
    found = [["plugins", "check", f"privmed-new-{kind}"] for kind in QUICK_CHECKS]
    assert generated.privmed(*found, cwd=root).count("passed") >= len(QUICK_CHECKS)


def test_they_stand_in_tables(generated, root):
    """The plan that comes with each, on the phantoms that come with it; watermarkers need a model, and have a test of their own."""
    kinds = [kind for kind in KINDS if (root / f"privmed-new-{kind}/plan.yaml").is_file()]
    assert set(KINDS) - set(kinds) == {"watermarker"}
    runs = []
    for kind in kinds:
        folder = root / f"privmed-new-{kind}"
        if kind in ("hider", "dataset"):  # what the others write is the same as of hiders
            generated.run("python", "phantoms.py", cwd=folder)
        data = folder if kind == "dataset" else root / "privmed-new-hider"
        runs.append(
            ["bench", "run", folder / "plan.yaml", "--data", data / "data", "-o", f"out-{kind}", "--json", "--quiet"]
        )
    told = generated.privmed(*runs, cwd=root).splitlines()
    assert [json.loads(line)["measurements"] > 0 for line in told] == [True] * len(kinds)


def test_methods_run_in_their_commands(generated, root):
    told = generated.privmed(
        [
            "hide",
            "set/images/0.png",
            "covers/1.png",
            "-o",
            "stego.png",
            "--hider",
            "new-hider",
            "--refine",
            "0",
            "--json",
        ],
        ["recover", "stego.png", "-o", "back.png", "--hider", "new-hider", "--quiet"],
        ["analyze", "stego.png", "-o", "response.png", "--analyzer", "new-analyzer", "--quiet"],
        ["protect", "set", "-o", "protected", "--protector", "new-protector", "--quiet"],
        cwd=root,
    )
    assert json.loads(told)
    back, scan = (np.array(Image.open(root / name)).astype(int) for name in ("back.png", "set/images/0.png"))
    assert np.abs((back if back.ndim == 2 else back[..., 0]) - scan).max() <= 8
    assert len(list((root / "protected/images").iterdir())) == 10


class Judge(torch.nn.Module):
    """Says b of bright images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lead = 40 * (x.mean((1, 2, 3)) - 0.58)
        return torch.stack([-lead, lead], 1)


def test_the_watermarker_marks_a_set_and_stands_in_a_table(generated, root):
    torch.jit.save(torch.jit.script(Judge()), root / "judge.pt")
    about = {"classes": ["a", "b"], "size": 64, "mean": [0, 0, 0], "deviation": [1, 1, 1], "answers": "logits"}
    (root / "judge.json").write_text(json.dumps(about))
    model = ["--model", "judge.pt", "--trust-model", "--quiet"]
    generated.privmed(
        ["watermark", "classes", "-o", "marked", "--key", "set.key", "--watermarker", "new-watermarker", *model],
        ["unlock", "marked", "-o", "lifted", "--key", "set.key", "--quiet"],
        ["bench", "watermark", "--data", "classes", "-o", "marks", "--methods", "new-watermarker", *model],
        cwd=root,
        PRIVMED_PASSPHRASE="correct horse",
    )
    for name in ("a/0.png", "b/1.png"):
        before, marked, after = (np.array(Image.open(root / f / name)) for f in ("classes", "marked", "lifted"))
        assert (before == after).all()
        assert (before != marked)[48:, 48:].any()
        assert (before == marked)[:48, :48].all()
    assert '"method": "new-watermarker"' in (root / "marks/watermark.jsonl").read_text()


def distribution(folder, name, group, entry, source, needs="privmed"):
    """Write the wheel of a distribution of one module."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", source)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", f"[privmed.{group}]\n{entry} = {module}\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in [*wheel.namelist(), f"{info}/RECORD"]))


METHOD = """
from privmed import Hider, hookimpl

class It(Hider):
    name = "{}"

    def _hide(self, secret, cover, generator):
        return cover

    def _recover(self, stego, generator):
        return stego

@hookimpl
def privmed_register(register):
    register(It)
"""


def test_strangers_that_are_not_in_order_take_nobody_down(generated, root, tmp_path):
    distribution(tmp_path, "stranger-broken", "hiders", "broken", "import no_such_module_anywhere\n")
    distribution(tmp_path, "stranger-thief", "hiders", "hinet", METHOD.format("hinet"))
    distribution(tmp_path, "stranger-one", "hiders", "same", METHOD.format("same"))
    distribution(tmp_path, "stranger-two", "hiders", "same", METHOD.format("same"))
    distribution(tmp_path, "stranger-command", "commands", "hide", "raise SystemExit(3)\n")
    old = "privmed_api = 0\n" + METHOD.format("old")
    distribution(tmp_path, "stranger-old", "hiders", "old", old, "privmed<0.2")
    names = [f"stranger-{name}" for name in ("broken", "thief", "one", "two", "command")]
    generated.pip("install", "--find-links", tmp_path, *names)
    refused = generated.pip("install", "--find-links", tmp_path, "stranger-old", code=1)
    assert "privmed<0.2" in refused
    generated.pip("install", "--no-deps", "--find-links", tmp_path, "stranger-old")

    told = json.loads(generated.run("privmed", "plugins", "--check", "--json", "-q", cwd=root, code=1))
    broken = {(row["distribution"], row["name"]): row["reason"] for row in told["plugins"] if row["status"] == "broken"}
    assert broken.keys() == {(f"stranger-{d}", n) for d, n in
        (("broken", "broken"), ("thief", "hinet"), ("one", "same"), ("two", "same"), ("command", "hide"), ("old", "old"))}  # fmt: skip
    for name, words in {
        "broken": "no_such_module_anywhere",
        "thief": "privmed-hiders",
        "one": "stranger-two",
        "command": "choose another name",
        "old": "plugin API 0",
    }.items():
        (reason,) = [why for (who, _), why in broken.items() if who == f"stranger-{name}"]
        assert words in reason
    generated.run("privmed", "doctor", "-q", cwd=root, code=1)
    generated.privmed(
        ["hide", "set/images/0.png", "covers/1.png", "-o", "ours.png", "--hider", "hinet", "--refine", "0", "-q"],
        ["hide", "set/images/0.png", "covers/1.png", "-o", "new.png", "--hider", "new-hider", "--refine", "0", "-q"],
        ["protect", "set", "-o", "still", "-q"],
        ["bench", "list", "-q"],
        cwd=root,
    )
    strict = generated.run("privmed", "plugins", cwd=root, code=None, PRIVMED_STRICT="1")
    assert "is installed but does not load" in strict
