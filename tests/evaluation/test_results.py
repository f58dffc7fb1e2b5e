"""Published figures: one schema, nothing typed by hand."""

from pathlib import Path

import pytest
from attrs import evolve

from privmed.errors import InputError, SettingsError
from privmed.evaluation.documents import fill_document, shows
from privmed.evaluation.results import (
    Curve,
    Figure,
    Results,
    figure,
    keep_older,
    load,
    number,
    provenance,
    to_html,
    to_markdown,
)

ROOT = Path(__file__).parents[2]


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
    assert "| lightih | PSNR, RGB | busi | 43.60 | 41.00 dB ± 1.414 | ≥ 42.00 ✗ |" in text
    assert "| ≥ 0.950 ✓ |" in text
    assert results.provenance.commit in text


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
