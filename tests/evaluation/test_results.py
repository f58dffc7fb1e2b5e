"""Published figures: one schema, nothing typed by hand."""

from pathlib import Path

import pytest
from attrs import evolve

from privmed.errors import InputError, SettingsError
from privmed.evaluation.documents import fill_document, shows
from privmed.evaluation.pivot import pivot
from privmed.evaluation.results import (
    Curve,
    Figure,
    Results,
    figure,
    keep_older,
    load,
    provenance,
)
from privmed.evaluation.tables import number, paper, to_html, to_markdown

ROOT = Path(__file__).parents[2]
EMPTY = Results(name="t", title="T", figures=[], provenance=provenance())


@pytest.fixture
def results():
    figures = [
        figure(
            "PSNR, RGB",
            "lightih",
            [40.0, 42.0],
            unit="dB",
            reported=43.6,
            source="HideMIA, Table 7",
            target=42,
            data="busi",
            over="images",
        ),
        figure("Dice ratio", "hidemia", [0.97], target=0.95, data="<busi>"),
        Figure(name="time", method="lightih", measured=2.0, unit="x", target=3, better="lower"),
    ]
    return Results(
        name="covert",
        title="Covert",
        figures=figures,
        provenance=provenance(seeds=[0]),
        curves=[Curve(name="c", x="step", y="dB", points=[[0, 1], [1, 3]])],
    )


def test_round_trip(results, tmp_path):
    assert load(results.save(tmp_path / "deep" / "covert.json")) == results
    assert (tmp_path / "deep" / "covert.html").exists()


def test_means_spreads_and_targets(results):
    first, second, third = results.figures
    assert (first.measured, first.n, first.met) == (41.0, 2, False)
    assert first.spread == pytest.approx(2**0.5)
    assert (second.met, second.spread) == (True, None)
    assert third.met is True


def test_markdown_puts_the_paper_beside_the_measurement(results):
    text = to_markdown(results)
    assert "| lightih | PSNR, RGB | busi | 2 images | 43.60 ✗ | 41.00 dB ± 1.414 | ≥ 42.00 ✗ |" in text
    assert "| own target |" in text
    assert "| ≥ 0.950 ✓ |" in text
    assert results.provenance.commit in text


@pytest.mark.parametrize(
    ("better", "measured", "reported", "shown"),
    [
        ("lower", 0.026, 0.009, "0.009 ✗"),
        ("lower", 0.009, 0.026, "0.026 ✓"),
        ("higher", 51.44, 51.65, "51.65 ✗"),
        ("higher", 51.65, 51.65, "51.65 ✓"),
        ("neither", 0.697, 0.729, "0.729"),
    ],
)
def test_a_tick_behind_a_papers_figure_says_that_it_was_met(better, measured, reported, shown):
    """Whatever our own target says, which every one of these meets."""
    target = {"higher": 0.0, "lower": 99.0}.get(better)
    f = Figure(name="n", method="m", measured=measured, reported=reported, target=target, better=better)
    assert paper(f) == shown
    beside = pivot(evolve(EMPTY, figures=[f]))[1][1]
    assert beside == f"{number(measured)} (paper {shown})"


def test_a_papers_figure_of_something_else_is_never_ticked():
    f = Figure(name="n", method="m", measured=0.9, reported=0.7, unlike="EyePACS", target=0.75)
    assert (f.paper_met, f.met) == (None, True)
    assert pivot(evolve(EMPTY, figures=[f]))[1][1] == "0.900 (paper 0.700, EyePACS; own target ≥ 0.750 ✓)"
    assert "| 0.700, EyePACS | 0.900 | ≥ 0.750 ✓ |" in to_markdown(evolve(EMPTY, figures=[f]))


def test_a_target_is_called_our_own():
    f = Figure(name="n", method="m", measured=0.04, target=0.05, better="lower")
    assert pivot(evolve(EMPTY, figures=[f]))[1][1] == "0.040 (own target ≤ 0.050 ✓)"


def test_rows_tell_their_seeds():
    made = [
        Figure(name=n, method=m, measured=0.5, n=k, over="seeds")
        for m, n, k in (("a", "x", 5), ("a", "y", 3), ("b", "x", 1))
    ]
    alone = Figure(name="x", method="one answer", measured=0.5)
    rows = pivot(evolve(EMPTY, figures=[alone, *made]))
    assert [row[:2] for row in rows] == [["published set", "seeds"], ["one answer", "–"], ["a", "3 to 5"], ["b", "1"]]
    assert pivot(evolve(EMPTY, figures=made), leave_out=("y",))[1][:2] == ["a", "5"], "seeds of what is shown"


def test_page_is_self_contained_and_escaped(results):
    page = to_html(results)
    assert "&lt;busi&gt;" in page
    assert "<busi>" not in page
    assert "http" not in page
    assert "<polyline" in page


def test_only_finite_figures_are_published():
    with pytest.raises(InputError, match="not all of them finite"):
        figure("x", "m", [1.0, float("nan")])
    with pytest.raises(InputError, match="nothing to publish"):
        figure("x", "m", [])


def test_wrong_files_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.json")
    (tmp_path / "x.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="not a results file of schema 1"):
        load(tmp_path / "x.json")
    (tmp_path / "y.json").write_text('{"schema": 1, "name": 3}')
    with pytest.raises(SettingsError):
        load(tmp_path / "y.json")


def test_documents_are_filled_between_marks(results):
    text = fill_document("a\n<!-- results:covert -->\nold\n<!-- /results -->\nb", results)
    assert "old" not in text
    assert text.startswith("a\n")
    assert text.endswith("\nb")
    assert fill_document(text, results) == text
    with pytest.raises(InputError, match="no place"):
        fill_document("nothing", results)


def test_a_headline_keeps_what_there_is_something_to_compare_with(results):
    plain = figure("SSIM", "lightih", [0.9])
    text = to_markdown(evolve(results, figures=[*results.figures, plain]), headline=True)
    assert "PSNR, RGB" in text
    assert "SSIM" not in text
    filled = fill_document("<!-- results:covert headline --><!-- /results -->", results)
    assert to_markdown(results, headline=True) in filled


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.98234, "0.982"), (43.6, "43.60"), (450.2, "450")])
def test_numbers_have_as_many_digits_as_mean_something(value, text):
    assert number(value) == text


def test_documents_show_what_the_committed_results_say():
    """Nobody types a number: every table in a document is the one rendered from its JSON."""
    paths = sorted((ROOT / "benchmarks/results").glob("*.json"))
    for page in (ROOT / "README.md", ROOT / "docs/results.md"):
        text = page.read_text(encoding="utf-8")
        for path in paths:
            if shows(text, path.stem):
                assert fill_document(text, load(path)) == text, f"{page.name} does not show {path.name}"
                assert load(path).provenance.commit != "unknown"


def test_what_is_not_measured_again_is_kept_and_tells_where_it_is_from(tmp_path):
    path, device = tmp_path / "t.json", "another machine"
    first = [Figure(name="a", method="m", measured=1.0), Figure(name="b", method="m", measured=2.0)]
    Results(name="t", title="T", figures=first, provenance=evolve(provenance(), device=device)).save(path)
    new = Results(
        name="t", title="T", figures=[Figure(name="a", method="m", measured=3.0)], provenance=provenance(), notes=["n"]
    )
    whole = keep_older(new, path)
    assert [(f.name, f.measured) for f in whole.figures] == [("a", 3.0), ("b", 2.0)]
    assert device in whole.figures[1].note
    assert [n for n in whole.notes if device in n and n.endswith(": m: b.")]
    whole.save(path)
    again = keep_older(new, path)
    assert again == whole, "an edition later the figure still tells of the first one"
    assert keep_older(new, path, lambda f: False) == new
    assert keep_older(new, tmp_path / "none.json") == new
