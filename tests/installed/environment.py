"""Environments that hold what is installed there and nothing of the clone, and what wheels say of themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = [ROOT, *sorted((ROOT / "plugins").iterdir())]
OFFLINE = ["--no-index", "--disable-pip-version-check", "--quiet"]
RUN = "import json, sys; from privmed.cli import run; sys.exit(max(run(a) for a in json.loads(sys.argv[1])))"


class Environment:
    """A virtual environment: its own Python, none of the clone's paths, and none of the settings of whoever runs the tests."""

    def __init__(self, folder: Path, third: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "third.pth").write_text(str(third))
        self.site = site

    def run(self, *command, cwd, code=0, **environment):
        """Run a program of the environment; gives what it printed; where any exit code will do (None), what it said on stderr before it."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PRIVMED_", "PYTHON", "PYTEST_"))}
        environment = {
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "PYTHONNOUSERSITE": "1",
            **environment,
        }
        done = subprocess.run(
            [self.bin / command[0], *map(str, command[1:])],
            cwd=cwd,
            env={**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", **environment},
            capture_output=True,
            text=True,
        )
        assert code in (None, done.returncode), f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr + done.stdout if code is None else done.stdout

    def privmed(self, *commands, cwd, **environment):
        """Run commands one after the other in one process, which saves starting torch for each."""
        return self.run("python", "-c", RUN, json.dumps([list(map(str, c)) for c in commands]), cwd=cwd, **environment)

    def pip(self, command, *arguments, code=0):
        """Run the tests' pip on this environment, which has none; nothing is downloaded."""
        offline = OFFLINE if command == "install" else OFFLINE[1:2]
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python", command, *offline, *arguments]
        done = subprocess.run(list(map(str, pip)), capture_output=True, text=True, cwd=self.folder)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr


def build(source: Path, into: Path) -> None:
    """An sdist, and a wheel of what is in it."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--quiet", "--outdir", into, source]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def build_all(folders: list[Path], into: Path) -> None:
    """Wheels of plugins, as pip makes them."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        *OFFLINE,
        "-w",
        into,
        *folders,
    ]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def metadata(wheel: Path):
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as held:
        (name,) = [n for n in held.namelist() if n.endswith(".dist-info/METADATA")]
        return Parser().parsestr(held.read(name).decode())


def needs(about, extras):
    """Requirements of a distribution that hold here, with the given extras."""
    from packaging.requirements import Requirement

    for text in about.get_all("Requires-Dist") or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield wanted


def ours(wheels: Path) -> dict:
    """What our wheels say of themselves, by name."""
    return {plain(about["Name"]): about for about in map(metadata, wheels.glob("privmed*.whl"))}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_parties(name: str, extras: set[str], ours: dict) -> set[str]:
    """Distributions of third parties that a distribution asks for, with all that those ask for."""
    found, seen, queue = set(), set(), [(plain(name), frozenset(extras))]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name in ours:
            about = ours[name]
        else:
            try:
                about = distribution(name).metadata
            except PackageNotFoundError:
                continue  # pip will say it better
            found.add(name)
        queue += [(plain(r.name), frozenset(r.extras)) for r in needs(about, extras)]
    return found


def links(names: set[str], folder: Path) -> Path:
    """A folder with links to those distributions, and nothing else."""
    folder.mkdir()
    for name in names:
        held = distribution(name)
        for top in {f.parts[0] for f in held.files or [] if f.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(held.locate_file(top)))
    return folder
