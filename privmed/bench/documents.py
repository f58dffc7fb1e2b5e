"""Tables in documents: what stands between two marks is rendered from records, so that nobody types a number.

The mark names the records and the view of their plan, its first one by default::

    <!-- results:covert -->
    <!-- results:covert headline -->
    <!-- /results -->

Where there is no room for whole tables, a digest lists figures of several ones, a row each, without notes::

    <!-- digest: hiding/readme covert/readme -->
    <!-- /digest -->
"""

from __future__ import annotations

import re
from pathlib import Path

from privmed.bench.published import Published
from privmed.bench.tables import digest, to_markdown, view_of
from privmed.errors import SettingsError
from privmed.files import whole_file

DIGEST = r"(<!-- digest:((?: [\w-]+/[\w-]+)+) -->).*?(<!-- /digest -->)"
MARK = r"(<!-- results:{name}(?: ([\w-]+))? -->).*?(<!-- /results -->)"


def fill_document(text: str, one: Published) -> str:
    """Render a table into all its places in a document; the document as it was where it has none.

    Raises:
        SettingsError: when a mark names a view that the plan does not have.
    """

    def render(place: re.Match) -> str:
        view = view_of(one.plan, place[2])
        return f"{place[1]}\n{to_markdown(one.records, one.plan, view, one.describe)}\n{place[3]}"

    return re.sub(MARK.format(name=re.escape(one.plan.name)), render, text, flags=re.DOTALL)


def fill_digests(text: str, tables: list[Published]) -> str:
    """Render all digests of a document.

    Raises:
        SettingsError: when one names a table that is not given, or a view that its plan does not have.
    """
    by_name = {one.plan.name: one for one in tables}

    def render(place: re.Match) -> str:
        rows = []
        for name, view in (part.split("/") for part in place[2].split()):
            if name not in by_name:
                raise SettingsError(f"digest: there are no records of {name!r}; there are {', '.join(by_name)}.")
            one = by_name[name]
            rows.append((one.records, one.plan, view_of(one.plan, view), one.describe))
        return f"{place[1]}\n{digest(rows)}\n{place[3]}"

    return re.sub(DIGEST, render, text, flags=re.DOTALL)


def fill_file(path: Path, tables: list[Published], *, check: bool = False) -> bool:
    """Fill a document with tables; returns whether it was out of date.

    Args:
        path: the document.
        tables: what may stand in it.
        check: leave it as it is.
    """
    text = old = path.read_text(encoding="utf-8")
    for one in tables:
        text = fill_document(text, one)
    text = fill_digests(text, tables)
    if text != old and not check:
        with whole_file(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text != old
