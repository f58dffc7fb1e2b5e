"""The page of a plan: self-contained HTML with its tables, plots and pictures."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

from privmed.bench.figures import Describe, Figure
from privmed.bench.plan import Plan, View
from privmed.bench.records import Records
from privmed.bench.tables import LIST, arranged, leaderboard, origins, shown, to_markdown
from privmed.files import whole_file

TEMPLATES = Path(__file__).parent / "templates"
Picture = tuple[str, Path]


def to_html(records: Records, plan: Plan, describe: Describe, pictures: list[Picture] = ()) -> str:  # type: ignore[assignment]
    """The whole page; nothing on it is fetched from anywhere."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    views = [_view(records, plan, name, view, describe) for name, view in (plan.views or {"": LIST}).items()]
    whole = _view(records, plan, "All figures", _everything(records), describe)
    return environment.get_template("page.html").render(
        title=plan.title or plan.name,
        views=[v for v in views if len(v["rows"]) > 1],
        whole=whole,
        notes=plan.notes,
        origins=origins(shown(records, plan, LIST, describe), records.provenances),
        pictures=[(caption, _uri(path.read_bytes(), "png")) for caption, path in pictures if path.is_file()],
    )


def _everything(records: Records) -> View:
    names = dict.fromkeys(n for m in records.measurements for n in m.dimensions if n not in ("of", "over"))
    return View(down=["method", "metric", "data", *names])


def _view(records: Records, plan: Plan, name: str, view: View, describe: Describe) -> dict:
    found = shown(records, plan, view, describe)
    table, plot = arranged(found, view), draw(found, view) if view.plot else ""
    return {"title": view.title or name, "head": table[0], "rows": table, "body": table[1:], "plot": plot}


def draw(found: list[Figure], view: View) -> str:
    """Lines of a view along a numeric dimension, as a data URI; empty where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return ""
    matplotlib.use("agg")
    from matplotlib import pyplot

    lines: dict[str, list[tuple[float, float]]] = {}
    for f in found:
        x = f.fields.get(view.plot)
        if isinstance(x, (int, float)):
            about = [f.title if n == "metric" else str(f.fields.get(n, "")) for n in (*view.down, *view.across)]
            lines.setdefault(", ".join(filter(None, dict.fromkeys(about))), []).append((x, f.summary.value))
    if not lines:
        return ""
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points)), marker=".", label=label)
    axes.set_xlabel(view.plot)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return _uri(buffer.getvalue(), "svg+xml")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def write_tables(
    records: Records,
    plan: Plan,
    describe: Describe,
    folder: Path,
    pictures: list[Picture] = (),  # type: ignore[assignment]
) -> list[Path]:
    """Write Markdown, page and leaderboard of a plan beside its records."""
    views = plan.views or {"": LIST}
    sections = []
    for name, view in views.items():
        table = to_markdown(records, plan, view, describe)
        sections.append(f"## {view.title or name}\n\n{table}\n" if len(views) > 1 else f"{table}\n")
    board = json.dumps(leaderboard(records, plan, describe), indent=1, allow_nan=False)
    contents = {
        ".md": f"# {plan.title or plan.name}\n\n" + "\n".join(sections),
        ".html": to_html(records, plan, describe, pictures),
        ".json": board + "\n",
    }
    written = []
    for ending, text in contents.items():
        path = folder / f"{plan.name or 'plan'}{ending}"
        with whole_file(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written
