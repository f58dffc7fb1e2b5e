"""Put the tables of ``benchmarks/results`` onto their pages and into documents: ``python benchmarks/render.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

from privmed.evaluation.documents import fill_document, shows
from privmed.evaluation.results import load
from privmed.evaluation.tables import to_html

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/results.md", "plugins/privmed-watermarkers/README.md")
NO_TABLES = ("curves",)  # what else lies among the results


def main() -> None:
    """Render every document and page; with ``--check`` only say whether one is out of date."""
    tables = [load(p) for p in sorted((ROOT / "benchmarks/results").glob("*.json")) if p.stem not in NO_TABLES]
    texts = {f"benchmarks/results/{t.name}.html": to_html(t) for t in tables}
    for name in DOCUMENTS:
        texts[name] = (ROOT / name).read_text(encoding="utf-8")
        for table in tables:
            if shows(texts[name], table.name):
                texts[name] = fill_document(texts[name], table)
    stale = [name for name, text in texts.items() if text != (ROOT / name).read_text(encoding="utf-8")]
    if "--check" not in sys.argv:
        for name in stale:
            (ROOT / name).write_text(texts[name], encoding="utf-8")
    print(f"out of date: {', '.join(stale)}" if stale else "all documents show what the results say")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
