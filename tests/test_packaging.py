"""What a user installs is what the repository says it is."""

import tomllib
from pathlib import Path

import pytest

import privmed

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]


def project(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_versions_agree():
    assert project(ROOT / "pyproject.toml")["version"] == privmed.__version__


@pytest.mark.parametrize("path", PROJECTS, ids=lambda p: p.parent.name)
def test_every_distribution_says_what_it_is(path):
    about = project(path)
    assert about["license"] == "Apache-2.0"
    assert (path.parent / about["readme"]).read_text(encoding="utf-8").strip()


def test_pinned_versions_satisfy_the_ranges_users_get():
    requirements = pytest.importorskip("packaging.requirements")
    pins = dict(
        line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for path in PROJECTS:
        for text in project(path)["dependencies"]:
            wanted = requirements.Requirement(text)
            if wanted.name != "privmed":
                assert wanted.specifier.contains(pins[wanted.name.lower()]), text


def test_shipped_weights_stay_small_and_match_their_cards():
    import hashlib
    import json

    files = sorted((ROOT / "plugins").glob("*/*/weights/*.safetensors"))
    shipped = [f for f in files if not f.name.startswith("unet-")]
    assert sum(f.stat().st_size for f in shipped) <= 60e6
    for path in shipped:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
        assert {"about", "recipe", "data", "trained", "validation", "licence"} <= card.keys()


def test_a_container_is_built_of_what_there_is():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    about = project(ROOT / "pyproject.toml")
    assert {"privmed", "pyproject.toml", about["readme"], *about["license-files"]} <= set(kept)
    assert "server" in about["optional-dependencies"]
    assert "[server]" in (ROOT / "Containerfile").read_text()
