"""A plugin to begin with: a whole distribution around a small method that works, of any kind."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attrs import frozen

from privmed import __version__, registry
from privmed.errors import OutputError, SettingsError, did_you_mean
from privmed.files import whole_folder
from privmed.hooks import GROUPS
from privmed.scaffold.kinds import KINDS as KINDS

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60


@frozen(kw_only=True)
class Made:
    """A plugin that was written: where, what, and what to type next."""

    folder: Path
    kind: str
    name: str
    steps: list[str]


def write_plugin(name: str, kind: str, path: str | Path = ".") -> Made:
    """Write the distribution ``privmed-NAME`` into a folder of that name.

    Args:
        name: of the method; lower-case letters, digits and single dashes. A leading ``privmed-`` may be given.
        kind: one of ``KINDS``.
        path: the folder that the new one is made in.

    Raises:
        SettingsError: for a kind that there is not, or a name that cannot be or is taken.
        OutputError: when the folder exists and is not empty.
    """
    if kind not in KINDS:
        raise SettingsError(f"--kind {kind!r}: there are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    about = _about(name.removeprefix("privmed-"), kind)
    folder = Path(path) / about["distribution"]
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder}: exists already and is not empty. Choose another name or --path.")
    with whole_folder(folder) as draft:
        for target, template in _files(about).items():
            (draft / target).parent.mkdir(parents=True, exist_ok=True)
            (draft / target).write_text(_rendered(template, about), encoding="utf-8")
        if about["weights"]:
            _write_weights(draft, about)
    steps = [
        f"pip install -e '{folder}[test]'",
        f"cd {folder}",
        "pytest",
        f"privmed plugins check {about['kind']}:{about['name']}",
        about["use"],
        *(["python phantoms.py && privmed bench run plan.yaml --data data -o out"] if about["quick"] else []),
    ]
    return Made(folder=folder, kind=about["kind"], name=about["name"], steps=steps)


def _about(name: str, kind: str) -> dict[str, Any]:
    """What the templates say, once the name is known to be free."""
    sketch = KINDS[kind]
    module = name.replace("-", "_")
    if not NAME.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(module):
        raise SettingsError(
            f"{name!r}: a name has lower-case letters, digits and single dashes, begins with a letter, is no word of Python and has at "
            f"most {LONGEST} characters."
        )
    known, distribution, package = sketch.kind or kind, f"privmed-{name}", f"privmed_{module}"
    _check_free(name, known, distribution, package)
    named = {
        k: getattr(sketch, k).replace("{name}", name)
        for k in ("about", "use", "suite", "entry", "weak", "view", "quick")
    }
    return {
        **named,
        "plan": f"suite: {named['suite']}\ndata: {'phantoms' if sketch.quick else 'DATASET'}\n{named['entry']}",
        "name": name,
        "template": kind,
        "kind": known,
        "group": GROUPS[known],
        "module": module,
        "package": package,
        "distribution": distribution,
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "weights": sketch.weights,
        "privmed": ".".join(__version__.split(".")[:2]),
    }


def _check_free(name: str, kind: str, distribution: str, package: str) -> None:
    row = next((r for r in registry.plugins(kind) if r.name == name), None)
    if row is not None:
        raise SettingsError(f"{name!r}: is taken, by the {kind} of {row.origin}. Choose another name.")
    try:
        taken = f"{distribution} {version(distribution)} is installed"
    except PackageNotFoundError:
        taken = f"a module {package} can be imported already" if importlib.util.find_spec(package) else ""
    if taken or distribution in registry.FIRST_PARTY:
        raise SettingsError(
            f"{name!r}: {taken or f'{distribution} is a distribution of privmed'}. Choose another name."
        )


def _files(about: dict[str, Any]) -> dict[str, str]:
    """Files of the distribution, and the template of each."""
    package, module = about["package"], about["module"]
    return {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": "LICENSE",
        ".gitignore": "gitignore",
        ".github/workflows/tests.yml": "ci.yml",
        **({"plan.yaml": "plan.yaml", "phantoms.py": "phantoms.py"} if about["quick"] else {}),
        f"{package}/__init__.py": "init.py",
        f"{package}/{module}.py": f"methods/{about['template']}.py",
        "tests/test_conformance.py": "conformance.py",
        f"tests/test_{module}.py": f"tests/{about['template']}.py",
    }


def _rendered(template: str, about: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("privmed.scaffold"), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(f"{template}.jinja").render(about)


def _write_weights(draft: Path, about: dict[str, Any]) -> None:
    """The first weights and their model card: the values that the method starts with."""
    from privmed import weights

    spec = importlib.util.spec_from_file_location(about["module"], draft / about["package"] / f"{about['module']}.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    weights.save(
        getattr(module, about["cls"])(),
        draft / about["package"] / "weights" / f"{about['name']}-default.safetensors",
        about="The values that the method starts with; nothing was trained.",
        data="none",
        licence="MIT",
    )
