"""Tables in documents: what stands between two marks is rendered from the results, so that nobody types a number.

The mark says which results and how they are laid out::

    <!-- results:covert -->              all figures, one a line
    <!-- results:covert headline -->     those with a published figure or a target beside them
    <!-- results:protection pivot -->    methods down, figures across
    <!-- results:watermark sources -->   models down; ASR, queries and mean transfer across
    <!-- results:watermark brief -->     the same for the first search alone
    <!-- results:watermark transfer -->  models down, the models they transfer to across, for the first search
    <!-- results:places searches -->     searches down, figures across
    <!-- results:watermark classes -->   models down, classes across, for the first search
    <!-- /results -->
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve

from privmed.errors import InputError
from privmed.evaluation import protection, watermark_suite
from privmed.evaluation.pivot import to_pivot_markdown
from privmed.evaluation.results import Results
from privmed.evaluation.tables import to_markdown


def of_first_search(results: Results, *beginnings: str) -> str:
    """Figures whose names begin so, of the search that comes first; models down."""
    search = next(f.name.partition(", ")[2] for f in results.figures if f.name.startswith("ASR, "))
    chosen = [f for f in results.figures if f.name.startswith(beginnings) and f.name.partition(", ")[2] in ("", search)]
    return to_pivot_markdown(evolve(results, figures=chosen), head="source")


LAYOUTS: dict[str, Callable[[Results], str]] = {
    "": to_markdown,
    "headline": lambda results: to_markdown(results, headline=True),
    "pivot": lambda results: to_pivot_markdown(results, leave_out=protection.DETAILS),
    "sources": lambda results: to_pivot_markdown(
        results, leave_out=(*watermark_suite.DETAILS, "share of"), head="source"
    ),
    "brief": lambda results: of_first_search(results, "accuracy on clean images", "ASR, ", "queries", "mean transfer"),
    "transfer": lambda results: of_first_search(results, "transfer to "),
    "searches": lambda results: to_pivot_markdown(results, head="search"),
    "classes": lambda results: of_first_search(results, "accuracy on class", "ASR of class"),
}
PLACE = r"(<!-- results:{name}(?: (\w+))? -->).*?(<!-- /results -->)"


def shows(text: str, name: str) -> bool:
    """Whether a document has a place for the results of that name."""
    return re.search(PLACE.format(name=re.escape(name)), text, re.DOTALL) is not None


def fill_document(text: str, results: Results) -> str:
    """Render results into all their places in a document.

    Raises:
        InputError: when there is none, or its layout is not known.
    """
    if not shows(text, results.name):
        raise InputError(f"the document has no place <!-- results:{results.name} --> … <!-- /results -->.")

    def render(place: re.Match) -> str:
        begin, layout, end = place[1], place[2] or "", place[3]
        if layout not in LAYOUTS:
            raise InputError(f"{begin}: no layout {layout!r}; there are {', '.join(filter(None, LAYOUTS))}.")
        return f"{begin}\n{LAYOUTS[layout](results)}\n{end}"

    return re.sub(PLACE.format(name=re.escape(results.name)), render, text, flags=re.DOTALL)
