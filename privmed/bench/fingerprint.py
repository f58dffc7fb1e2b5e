"""What code a run depends on, so that figures of other code are not taken for this one's."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

CORE = (
    "privmed.bench.defences",
    "privmed.bench.filters",
    "privmed.imaging",
    "privmed.interfaces",
    "privmed.metrics",
    "privmed.nn",
    "privmed.pipeline",
    "privmed.training",
)  # of privmed itself, what decides on pixels, and what defences share


@functools.cache
def fingerprint(*modules: str) -> str:
    """Hash of modules and of all they import from their own packages and from what of privmed decides on pixels.

    Comments, docstrings and layout do not count.
    """
    packages = {name.partition(".")[0] for name in modules} - {"privmed"}
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name], imported = _parsed(name, path, path.read_text(encoding="utf-8"))
        waiting += [n for n in imported if n.startswith(CORE) or n.partition(".")[0] in packages]
    text = "\n".join(f"{name}\n{found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _parsed(name: str, path: Path, source: str) -> tuple[str, tuple[str, ...]]:
    """A module without what does not count, and what it imports."""
    tree = ast.parse(source)
    imported = tuple(_imports(tree, name, path))
    return ast.unparse(_bare(tree)), imported


def _file(name: str) -> Path | None:
    """The source of a module; None for what is a name in a module, or has no source."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, AttributeError):
        return None
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _imports(tree: ast.AST, name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module
            )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
