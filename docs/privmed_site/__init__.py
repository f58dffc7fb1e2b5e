"""The Sphinx extension of this site: pages that are generated from classes, commands and records before Sphinx reads any.

Everything generated lies in ``docs/generated`` and is no part of the repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

GENERATED = "generated"


def generate(_app: Any) -> None:
    """Write all generated pages."""
    from sphinx.util import logging

    from privmed_site import boards, commands, directory, methods, modules, schemas
    from privmed_site.pages import Pages

    docs = Path(__file__).parents[1]
    tables = boards.load_all(docs.parent / "benchmarks" / "results")
    for name in modules.undocumented():
        logging.getLogger(__name__).warning("%s has no docstring", name, type="privmed", subtype="docstring")
    with Pages(docs / GENERATED, keep=("tutorials",)) as pages:
        boards.write(pages, tables)
        methods.write(pages, tables)
        commands.write(pages)
        schemas.write(pages)
        directory.write(pages)
        modules.write(pages)


def setup(app: Any) -> dict[str, Any]:
    """Generate before Sphinx looks for documents, and hold what is documented against the rules of the reference."""
    from privmed_site import modules

    app.connect("config-inited", lambda app, _config: generate(app), priority=10)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", modules.keep_colons, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", modules.say_since, priority=900)  # after it
    app.connect("autodoc-skip-member", modules.keep_hook)
    app.connect("missing-reference", modules.find_by_ending)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
