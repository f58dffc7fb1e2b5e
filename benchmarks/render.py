"""Put the tables of ``benchmarks/results`` into the documents that show them: ``python benchmarks/render.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

from privmed.evaluation.documents import fill_document, shows
from privmed.evaluation.results import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/results.md", "plugins/privmed-watermarkers/README.md")


def main() -> None:
    """Fill every document; with ``--check`` only say whether one is out of date."""
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        text = old = path.read_text(encoding="utf-8")
        for source in sorted((ROOT / "benchmarks/results").glob("*.json")):
            if shows(text, source.stem):
                text = fill_document(text, load(source))
        if text != old:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(f"out of date: {', '.join(stale)}" if stale else "all documents show what the results say")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
