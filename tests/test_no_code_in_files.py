"""No source of privmed loads a file in a way that could run what is in it, outside the one process that is shut in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for pattern in ("privmed/**/*.py", "plugins/*/privmed_*/**/*.py", "benchmarks/*.py")
    for path in sorted(ROOT.glob(pattern))
]
SHUT_IN = ROOT / "privmed/sandbox/child.py"
BETWEEN_PROCESSES = ROOT / "privmed/jobs/messages.py"
"""Pickles what one run sends between its own processes through nameless pipes; it opens no file."""
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {
    "torch.jit.load",
    "torch.export.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "eval",
    "exec",
}
NEEDED = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}


def findings(source: str) -> Iterator[str]:
    """What in a source could run code that lies in a file."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            if node.module.partition(".")[0] in MODULES:
                yield node.module
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = dotted(node, names)
            if name in CALLS:
                yield name
        if isinstance(node, ast.Call) and (name := dotted(node.func, names)) in NEEDED:
            word, value = NEEDED[name]
            given = {k.arg: k.value for k in node.keywords}.get(word)
            if not (isinstance(given, ast.Constant) and given.value is value):
                yield f"{name} without {word}={value}"


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what an expression names, or an empty string."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (before := dotted(node.value, names)):
        return f"{before}.{node.attr}"
    return ""


def test_no_file_is_loaded_in_a_way_that_runs_it():
    assert len(SOURCES) > 100
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in SOURCES
        if path not in (SHUT_IN, BETWEEN_PROCESSES)
        for what in findings(path.read_text())
    ]
    assert not found


def test_the_shut_in_process_is_the_one_place():
    assert set(findings(SHUT_IN.read_text())) == {"torch.jit.load", "torch.export.load"}


def test_messages_between_processes_touch_no_file():
    source = BETWEEN_PROCESSES.read_text()
    assert set(findings(source)) == {"pickle"}
    assert "open(" not in source
    assert "Path" not in source


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch as t\nt.load(p)",
        "import torch\ntorch.load(p, weights_only=False)",
        "from torch import load\nload(p)",
        "import torch\nread = torch.jit.load",
        "import torch.jit\ntorch.jit.load(p)",
        "from torch import export\nexport.load(p)",
        "import numpy as np\nnp.load(p)",
        "import numpy as np\nnp.load(p, allow_pickle=True)",
        "import yaml\nyaml.load(p, yaml.Loader)",
        "from yaml import unsafe_load\nunsafe_load(p)",
        "exec(p)",
    ],
)
def test_each_dangerous_way_is_found(source):
    assert list(findings(source))


def test_safe_ways_are_left_alone():
    safe = "import torch, yaml, numpy as np\ntorch.load(p, weights_only=True)\nyaml.safe_load(p)\nnp.load(p, allow_pickle=False)\nm.eval()"
    assert not list(findings(safe))
