"""What a user installs is what the repository says it is."""

import re
import tomllib
from pathlib import Path

import pytest

import privmed
from privmed.hooks import GROUPS

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT / "pyproject.toml", *sorted((ROOT / "plugins").glob("*/pyproject.toml"))]


def project(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_versions_agree():
    assert {project(path)["version"] for path in PROJECTS} == {privmed.__version__}
    assert f"\n## {privmed.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_plugins_and_extras_ask_for_this_minor_release():
    major, minor, _ = privmed.__version__.split(".")
    own = f">={major}.{minor},<{major}.{int(minor) + 1}"
    core, *plugins = map(project, PROJECTS)
    extras = core["optional-dependencies"]
    for plugin in plugins:
        (needs,) = [d for d in plugin["dependencies"] if re.match(r"privmed\b", d)]
        assert re.sub(r"\[.*\]", "", needs) == f"privmed{own}"
    named = [d for needs in extras.values() for d in needs if d.startswith("privmed-")]
    assert all(d.endswith(own) for d in named)
    assert {plugin["name"] + own for plugin in plugins} <= set(extras["all"])


def test_every_extra_that_a_message_or_a_page_names_exists():
    extras = project(ROOT / "pyproject.toml")["optional-dependencies"].keys()
    texts = [
        p for folder in ("privmed", "plugins", "docs") for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".md")
    ]
    texts += [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile", *PROJECTS]
    named = {}
    for path in texts:
        for found in re.findall(r"privmed\[([a-z,]+)\]", path.read_text(encoding="utf-8")):
            named |= dict.fromkeys(found.split(","), path)
    assert {name: path for name, path in named.items() if name not in extras} == {}
    assert {"dicom", "keys", "monai", "seg", "server", "zoo"} <= named.keys()


def test_everything_that_lies_in_a_package_is_in_its_wheel():
    """Files beside the code are packaged only if a pattern names them."""
    for path in PROJECTS:
        tool = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["setuptools"]
        for package, patterns in tool["package-data"].items():
            folder = path.parent / package
            there = {p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
            packaged = {p for pattern in patterns for p in folder.glob(pattern)}
            assert there - packaged == set(), f"{path}: package-data does not name them"
            assert folder / "py.typed" in packaged
            assert all((p.parent / "__init__.py").exists() for p in folder.rglob("*.py"))


def test_a_plugin_can_be_found_on_the_index():
    for path in PROJECTS[1:]:
        about = project(path)
        assert about["keywords"][0] == "privmed-plugin"
        assert set(about["entry-points"]) <= set(GROUPS.values())
        assert (path.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_what_was_deprecated_goes_when_its_release_comes():
    promised = {}
    for path in [p for folder in ("privmed", "plugins") for p in (ROOT / folder).rglob("*.py")]:
        for release in re.findall(r"leaves? with privmed (\d+\.\d+)", path.read_text(encoding="utf-8")):
            promised[path] = tuple(map(int, release.split(".")))
    now = tuple(map(int, privmed.__version__.split(".")[:2]))
    assert promised
    assert {path: release for path, release in promised.items() if release <= now} == {}, "take the old names out"


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


def test_shipped_weights_stay_small_and_all_match_their_cards():
    import hashlib
    import json

    files = sorted((ROOT / "plugins").glob("*/*/weights/*.safetensors"))
    shipped = [f for f in files if not f.name.startswith("unet-")]
    assert sum(f.stat().st_size for f in shipped) <= 75e6
    for path in shipped:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
        assert {"about", "recipe", "data", "trained", "validation", "licence"} <= card.keys()


def test_shipped_analyzers_read_what_their_hider_hides_by_default():
    import json

    from privmed import registry, weights

    for path in sorted((ROOT / "plugins").glob("*/*/weights/hidemia-*.json")):
        tuned = json.loads(path.read_text(encoding="utf-8"))["hider"]
        cls = registry.load("hider", tuned["name"])
        assert tuned["weights"] == cls.default_weights
        assert tuned["sha256"] == weights.read_card(weights.bundled(cls)[cls.default_weights])["sha256"]


def test_a_container_is_built_of_what_there_is():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept)
    about = project(ROOT / "pyproject.toml")
    assert {"privmed", "pyproject.toml", about["readme"], *about["license-files"]} <= set(kept)
    assert "server" in about["optional-dependencies"]
    assert "[server]" in (ROOT / "Containerfile").read_text()
