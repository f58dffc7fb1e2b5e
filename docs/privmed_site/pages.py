"""Writing generated pages: rendered from templates, touched only when they change, swept away when nothing makes them any more."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def cell(text: Any) -> str:
    """Text as a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def environment() -> Environment:
    """Jinja's, strict about names that are not there; HTML is escaped in templates that end in ``.html``."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["cell"] = cell
    return made


class Pages:
    """The folder of generated pages. An unchanged page keeps its time, so that Sphinx need not read it again.

    Args:
        folder: where pages go.
        keep: sub-folders that somebody else fills.
    """

    def __init__(self, folder: Path, keep: tuple[str, ...] = ()) -> None:
        self.folder, self.keep, self._written = folder, keep, set()
        self._environment = environment()

    def write(self, path: str, template: str, /, **values: Any) -> None:
        """Render a template into the page at that path."""
        page = self.folder / path
        text = self._environment.get_template(template).render(**values)
        self._written.add(page)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            for path in self.folder.rglob("*"):
                kept = path.relative_to(self.folder).parts[0] in self.keep
                if path.is_file() and not kept and path not in self._written:
                    path.unlink()
