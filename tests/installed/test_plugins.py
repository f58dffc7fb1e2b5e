"""Distributions that are really built and installed by pip, and used by a privmed in a process of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.scaffold import KINDS, write_plugin

pytestmark = pytest.mark.slow
pytest.importorskip("pip", reason="needs pip")
ROOT = Path(__file__).parents[1]
RUN = "import json, sys; from privmed.cli import run; sys.exit(max(run(a) for a in json.loads(sys.argv[1])))"


def pip(*arguments):
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *arguments[:1], *offline, *map(str, arguments[1:])], check=True)


def inside(site, *command, cwd):
    """Run Python where the folder's distributions are installed; gives what it printed."""
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def privmed(site, *commands, cwd):
    """Run commands one after the other."""
    return inside(site, "-c", RUN, json.dumps([list(map(str, c)) for c in commands]), cwd=cwd)


def test_one_distribution_brings_every_part_of_a_table_and_a_command(tmp_path):
    shutil.copytree(ROOT / "tests/acme", tmp_path / "acme")
    pip("install", "--target", tmp_path / "site", tmp_path / "acme")
    rng = np.random.default_rng(0)
    planes = np.stack([rng.random((10, 32, 32)), rng.random((10, 32, 32)) > 0.5], 1).astype("f4")
    np.save(tmp_path / "scans.npy", planes)
    told = privmed(
        tmp_path / "site",
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


def test_the_plugin_of_the_guide_installs_as_it_stands(tmp_path):
    guide = (ROOT / "docs/write-a-plugin.md").read_text(encoding="utf-8")
    shown = {name: body for name, body in re.findall(r"```\w+\n# (\S+)\n(.*?)```", guide, re.DOTALL)}
    assert shown.keys() == {"privmed_acme.py", "pyproject.toml", "test_mix.py"}
    for name, body in shown.items():
        (tmp_path / name).write_text(body)
    pip("install", "--target", tmp_path / "site", tmp_path)
    inside(tmp_path / "site", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mix.py", cwd=tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A plugin of every kind, written, built and installed; beside ``site/`` their folders, and ``set/``, ``archives/``, ``covers/``."""
    root = tmp_path_factory.mktemp("generated")
    folders = [write_plugin(f"new-{kind}", kind, root).folder for kind in KINDS]
    pip("install", "--target", root / "site", *folders)
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
        (root / "archives").mkdir(exist_ok=True)
        np.savez(root / f"archives/{n}.npz", image=scan, mask=mask)
    return root / "site"


def test_their_own_tests_pass(site):
    folders = [str(p / "tests") for p in sorted(site.parent.glob("privmed-new-*"))]
    assert len(folders) == len(KINDS)
    inside(site, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *folders, cwd=site.parent)


def test_they_pass_the_check_as_installed(site):
    found = [["plugins", "check", f"privmed-new-{kind}"] for kind in KINDS]
    assert privmed(site, *found, cwd=site.parent).count("passed") >= len(KINDS)


QUICK = {"settings": {"size": 32, "protocol": {"epochs": 1, "width": 2, "batch": 4}}}
UNPROTECTED = [{"label": "unprotected"}]
PLANS = {
    "hider": {"suite": "hiding", "data": "set", "entries": "new-hider", "grid": {"cover": ["covers"]}, "settings": {"size": 32}},
    "analyzer": {"suite": "covert", "data": "set", "entries": "new-analyzer", "grid": {"hider": ["none"], "cover": ["covers"]},
                 "settings": {"size": 32}},
    "protector": {"suite": "protection", "data": "set", "entries": "new-protector", **QUICK},
    "exploiter": {"suite": "protection", "data": "set", "entries": UNPROTECTED, "grid": {"exploiter": ["new-exploiter"]}, **QUICK},
    "defence": {"suite": "protection", "data": "set", "entries": UNPROTECTED, "grid": {"defence": ["new-defence"]}, **QUICK},
    "dataset": {"suite": "protection", "data": "archives", "reader": "new-dataset", "entries": UNPROTECTED, **QUICK},
    "suite": {"suite": "new-suite", "data": "set", "entries": "new-protector", "settings": {"size": 32}},
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANS)
def test_they_stand_in_a_table(site, kind):
    root, plan = site.parent, dict(PLANS[kind])
    if isinstance(plan["entries"], str):
        plan["entries"] = [{"label": "it", "method": plan["entries"]}]
    (root / f"{kind}.yaml").write_text(json.dumps(plan))
    out = root / f"out-{kind}"
    told = privmed(
        site, ["bench", "run", root / f"{kind}.yaml", "--data", root, "-o", out, "--json", "--quiet"], cwd=root
    )
    assert json.loads(told)["measurements"] > 0


def test_methods_run_in_their_commands(site):
    root = site.parent
    told = privmed(
        site,
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


def test_the_watermarker_marks_a_set_and_stands_in_a_table(site, monkeypatch):
    pytest.importorskip("cryptography", reason="needs privmed[keys]")
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")
    root = site.parent
    torch.jit.save(torch.jit.script(Judge()), root / "judge.pt")
    about = {"classes": ["a", "b"], "size": 64, "mean": [0, 0, 0], "deviation": [1, 1, 1], "answers": "logits"}
    (root / "judge.json").write_text(json.dumps(about))
    model = ["--model", "judge.pt", "--trust-model", "--quiet"]
    privmed(
        site,
        ["watermark", "classes", "-o", "marked", "--key", "set.key", "--watermarker", "new-watermarker", *model],
        ["unlock", "marked", "-o", "lifted", "--key", "set.key", "--quiet"],
        ["bench", "watermark", "--data", "classes", "-o", "marks", "--methods", "new-watermarker", *model],
        cwd=root,
    )
    for name in ("a/0.png", "b/1.png"):
        before, marked, after = (np.array(Image.open(root / f / name)) for f in ("classes", "marked", "lifted"))
        assert (before == after).all()
        assert (before != marked)[48:, 48:].any()
        assert (before == marked)[:48, :48].all()
    assert '"method": "new-watermarker"' in (root / "marks/watermark.jsonl").read_text()


def test_the_templates_are_in_the_wheel(tmp_path):
    (tmp_path / "core").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "core")
    shutil.copytree(ROOT / "privmed", tmp_path / "core/privmed", ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--wheel-dir", tmp_path / "wheels", tmp_path / "core")
    (wheel,) = (tmp_path / "wheels").glob("privmed-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    templates = {p.relative_to(ROOT).as_posix() for p in (ROOT / "privmed").rglob("*.jinja")}
    assert len(templates) >= 23
    assert templates <= held
