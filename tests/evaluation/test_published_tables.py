"""What stands beside the published figures: of the same images, from the paper, and with what a reader must know."""

from pathlib import Path

import pytest

from privmed.evaluation.protection import made_at
from privmed.evaluation.results import Figure, load

RESULTS = Path(__file__).parents[2] / "benchmarks/results"
TABLES = sorted(RESULTS.glob("protection-*.json"))
UNET = "Dice on clean test images, unet, last epoch"


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(RESULTS.parent)
    return pytest.importorskip("protection_rows")


def test_a_papers_figure_stands_beside_images_like_its_own_alone(rows):
    """Ultrasound is grey in the paper: in colour, and on skin, there is nothing to compare with."""
    for method in ("umed", rows.PAPERS, "em", "unprotected"):
        grey, colour = (
            rows.compared(Figure(name=UNET, method=method, measured=0.5, better="lower"), b) for b in (True, False)
        )
        assert grey.reported is not None
        assert colour.reported is None
        assert grey.target == colour.target
    assert rows.compared(Figure(name=UNET, method="unprotected", measured=0.1, better="lower"), True).paper_met is None


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_published_tables_of_protection_keep_to_that(path, rows):
    table = load(path)
    like_the_paper = path.stem.startswith("protection-busi-") and "colour" not in path.stem
    assert any(f.reported is not None for f in table.figures) == like_the_paper
    back = {name: label for label, name in rows.NAMES.items()}
    for f in table.figures:
        again = rows.compared(
            Figure(name=f.name, method=back.get(f.method, f.method), measured=f.measured), like_the_paper
        )
        assert (f.method, f.reported, f.target) == (again.method, again.reported, again.target)


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_published_tables_of_protection_say_what_they_compare(path, rows):
    table = load(path)
    said, shown = " ".join(table.notes), {f.method for f in table.figures}
    assert all(
        word in said for word in ("training images", "clean test images", "exploiters of width", "epochs", "batch")
    )
    if "umed" in shown:
        assert "ours at its best" in said
    if shown & {"em", "tap", "sep", "lsp", "ar"}:
        assert "handicap" in said


def test_a_table_names_the_rows_whose_commit_was_not_recorded():
    run = lambda label, **more: {"entry": {"label": label}, "device": "cpu", **more}  # noqa: E731
    said = made_at([run("em", commit="abc"), run("lsp"), run("lsp"), run("em", commit="abd")])
    assert "commit abc, abd; cpu." in said
    assert "Of some runs of lsp commit or machine was not recorded." in said
    assert "not recorded" not in made_at([run("em", commit="abc")])
