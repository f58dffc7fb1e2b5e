"""What is in the wheels, what an installation says of itself, and what the core says of what is not installed."""

import json
import re
import tarfile
import tomllib
import zipfile
import zlib

import numpy as np
import pytest
from environment import ROOT, TARGETS, metadata
from PIL import Image

from privmed import __version__

IDS = ["privmed" if target == ROOT else target.name for target in TARGETS]


def tree(target):
    """Files of a distribution's package, with their checksums."""
    package = target / ("privmed" if target == ROOT else target.name.replace("-", "_"))
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {p.relative_to(target).as_posix(): zlib.crc32(p.read_bytes()) for p in files}


@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_a_wheel_holds_its_package_and_nothing_else(wheels, target):
    (wheel,) = wheels.glob(f"{IDS[TARGETS.index(target)].replace('-', '_')}-{__version__}-*.whl")
    with zipfile.ZipFile(wheel) as held:
        inside = {i.filename: i.CRC for i in held.infolist() if ".dist-info/" not in i.filename}
    assert inside == tree(target), "the wheel is not that of this tree: make dist"
    about, project = metadata(wheel), tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (about["Name"], about["Version"]) == (project["name"], __version__)
    assert about["License-Expression"] == "Apache-2.0"
    assert set(about.get_all("Provides-Extra") or []) == set(project.get("optional-dependencies", {}))


@pytest.mark.parametrize("target", TARGETS, ids=IDS)
def test_an_sdist_holds_what_builds_the_wheel(wheels, target):
    (archive,) = wheels.glob(f"{IDS[TARGETS.index(target)].replace('-', '_')}-{__version__}.tar.gz")
    with tarfile.open(archive) as held:
        inside = {name.partition("/")[2] for name in held.getnames()}
    assert tree(target).keys() | {"pyproject.toml", "README.md", "LICENSE"} <= inside


def test_all_brings_the_four_plugins_and_what_they_need(everything, tmp_path):
    where = everything.run("python", "-c", "import privmed; print(privmed.__file__)", cwd=tmp_path)
    assert where.startswith(str(everything.site))
    assert everything.run("privmed", "--version", cwd=tmp_path) == f"privmed {__version__}\n"
    rows = json.loads(everything.run("privmed", "plugins", "--check", "--json", cwd=tmp_path))["plugins"]
    assert {(row["distribution"], row["version"]) for row in rows} == {(name, __version__) for name in IDS[1:]}
    assert {row["status"] for row in rows} == {"ok"}
    found = json.loads(everything.run("privmed", "doctor", "--json", cwd=tmp_path))
    absent = {extra["name"] for extra in found["extras"] if extra["missing"]}
    assert absent == {"docs", "fabric", "onnx", "ray", "zoo"}
    assert "No broken requirements" in everything.pip("check")


def test_no_development_tool_is_needed(everything, tmp_path):
    tools = ["pytest", "ruff", "sphinx", "build"]
    ask = f"import importlib.util as u; print([t for t in {tools} if u.find_spec(t)])"
    assert everything.run("python", "-c", ask, cwd=tmp_path) == "[]\n"


MISSING = [
    ("demo -o out", "pip install 'privmed[demo]'"),
    ("hide scan.dcm beach.png -o stego.png", "pip install 'privmed[dicom]'"),
    ("hide scan.png beach.png -o stego.png", "pip install privmed-hiders"),
    ("analyze scan.png -o response.png", "pip install privmed-analyzers"),
    ("protect set -o out", "pip install privmed-protectors"),
    ("watermark set -o out --key set.key", "pip install privmed-watermarkers"),
    ("serve", "pip install 'privmed[server]'"),
    ("keygen -o mine", "pip install 'privmed[keys]'"),
    ("plugins", "pip install 'privmed[all]'"),
]


def test_the_core_alone_names_what_is_missing_with_its_command(core, tmp_path):
    for grey, name in enumerate(("scan.png", "beach.png", "set/a/0.png", "set/b/1.png"), start=90):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 48), grey, np.uint8)).save(tmp_path / name)
    (tmp_path / "scan.dcm").write_bytes(b"\0" * 128 + b"DICM")
    run = "import json, sys; from privmed.cli import run; print([run(c.split()) for c in json.loads(sys.argv[1])], file=sys.stderr)"
    lines = [line for line, _ in MISSING]
    told = core.run("python", "-c", run, json.dumps(lines), cwd=tmp_path, code=None, PRIVMED_PASSPHRASE="correct horse")
    assert "Traceback" not in told
    assert re.findall(r"pip install (?:'privmed\[\w+\]'|privmed-\w+)", told) == [how for _, how in MISSING], told
    extras = {e["name"]: e for e in json.loads(core.run("privmed", "doctor", "--json", cwd=tmp_path))["extras"]}
    assert extras["all"]["install"] == "pip install 'privmed[all]'"
    assert set(IDS[1:]) <= set(extras["all"]["missing"])
