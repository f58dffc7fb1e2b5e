"""Plans and tables: grids, spreads, margins, papers beside measurements, by hand."""

import json
from pathlib import Path

import pytest
from attrs import evolve
from scipy.stats import binomtest, ttest_rel

from privmed.bench.contracts import Quantity, Suite
from privmed.bench.documents import fill_file
from privmed.bench.figures import figures
from privmed.bench.gathering import derived
from privmed.bench.page import to_html
from privmed.bench.plan import Average, View, make_plan, read_plan, save_plan
from privmed.bench.published import Published, load_published
from privmed.bench.records import Measurement, Provenance, Records
from privmed.bench.reported import cited, read_paper
from privmed.bench.summary import averages, margins, summarise, wilson
from privmed.bench.tables import LIST, leaderboard, rows, to_markdown, view_of
from privmed.bench.words import number
from privmed.errors import InputError, SettingsError

QUANTITIES = {
    "dice": Quantity(title="Dice", better="lower"),
    "psnr": Quantity(title="PSNR", unit="dB"),
    "asr": Quantity(title="ASR", share=True),
}
PLANS = Path(__file__).parents[2] / "benchmarks"
ORIGIN = Provenance(command="privmed bench run p.yaml", commit="abc", date="2026-11-25", device="<machine>", threads=1)
PLAN = """
suite: protection
title: A <table>
data: busi
entries:
  - {label: noise, method: noise}
  - {label: ours, method: em, control: noise}
  - {label: theirs, method: umed, control: noise, paper: umed}
grid: {exploiter: [unet, unet++]}
margins: [dice]
views:
  main: {across: [metric, exploiter], where: {metric: [dice, margin, psnr]}}
  list: {down: [method, metric, exploiter], compared: true}
targets:
  - {metric: dice, method: theirs, dimensions: {exploiter: unet}, at_most: 0.05}
reported:
  - {file: paper.yaml, rename: {data: {BUSI: busi}}}
"""
PAPER = """
paper: UMed
tables:
  - table: "1"
    scale: 0.01
    where: {exploiter: unet}
    columns: [{metric: dice, data: BUSI}, {metric: dice, data: Kvasir}]
    rows:
      - {method: umed, values: [0.92, {value: 0.23, note: doubtful}]}
      - {method: em, values: [32.55, null]}
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "table.yaml").write_text(PLAN)
    (tmp_path / "paper.yaml").write_text(PAPER)
    return read_plan(tmp_path / "table.yaml")


def dice(method, value, seed=0, exploiter="unet", **more):
    dimensions = {"exploiter": exploiter, **more.pop("dimensions", {})}
    about = {"metric": "dice", "method": method, "data": "busi", "provenance": ORIGIN.id}
    return Measurement(**{**about, "value": value, "seed": seed, "dimensions": dimensions, **more})


@pytest.fixture
def records(plan):
    found = [dice("noise", 0.4), dice("noise", 0.6, 1), dice("theirs", 0.03), dice("theirs", 0.01, 1)]
    found.append(Measurement(metric="psnr", method="theirs", data="busi", value=50.0, unit="dB", provenance=ORIGIN.id))
    found.append(dice("noise", 0.5, exploiter="unet++"))
    return Records([*found, *margins(plan, found, QUANTITIES.get)], {ORIGIN.id: ORIGIN})


def test_margins_pair_seeds(records):
    found = [m for m in records.measurements if m.metric == "margin"]
    assert [(m.seed, m.dimensions["over"]) for m in found] == [(0, "noise"), (1, "noise")]
    assert [m.value for m in found] == pytest.approx([0.37, 0.59])


def test_margins_pair_images_where_both_keep_them(plan):
    """The interval of the mean difference is that of the paired t-test; an image that either has no figure of does not count."""
    mine, theirs = [0.1, 0.4, 0.2, 0.3, None], [0.3, 0.5, 0.6, 0.4, 0.9]
    found = [evolve(dice("ours", 0.25), each=mine), evolve(dice("noise", 0.54), each=theirs)]
    (margin,) = margins(plan, found, QUANTITIES.get)
    test = ttest_rel(theirs[:4], mine[:4])
    low, high = test.confidence_interval()
    assert margin.value == pytest.approx((low + high) / 2)  # lower Dice is better
    assert margin.spread == pytest.approx((high - low) / 2)
    assert (margin.n, margin.over, margin.each) == (4, "images, paired", [])


@pytest.mark.parametrize("each", [[], [0.3, 0.5], [0.3, None, None, None, None]])
def test_margins_of_other_images_have_no_interval(plan, each):
    found = [evolve(dice("ours", 0.25), each=[0.1, 0.4, 0.2, 0.3, None]), evolve(dice("noise", 0.5), each=each)]
    (margin,) = margins(plan, found, QUANTITIES.get)
    assert (margin.value, margin.spread) == (pytest.approx(0.25), None)


def test_margins_without_a_common_seed_are_differences_of_means(plan):
    found = [dice("noise", 0.4), dice("noise", 0.6, 1), dice("ours", 0.3, 5)]
    (margin,) = margins(plan, found, QUANTITIES.get)
    assert (margin.value, margin.seed, margin.over) == (pytest.approx(0.2), None, "unpaired")


def test_means_over_a_dimension_need_all_its_values(plan):
    from attrs import evolve

    from privmed.bench.plan import Average

    both = Average(dimension="exploiter", values=["unet", "unet++"], name="both", metrics=["dice"])
    found = [dice("ours", 0.2), dice("ours", 0.4, exploiter="unet++"), dice("ours", 0.9, 1)]
    (mean,) = averages(evolve(plan, averages=[both]), found)
    assert (mean.value, mean.seed, mean.dimensions) == (pytest.approx(0.3), 0, {"exploiter": "both"})


def test_means_over_data_sets_and_then_over_a_dimension(plan):
    sets = Average(dimension="data", values=["busi", "isic"], name="both", metrics=["dice"])
    nets = Average(dimension="exploiter", values=["unet", "unet++"], name="all", metrics=["dice"])
    busi = [dice("ours", 0.2), dice("ours", 0.4, exploiter="unet++")]
    found = [
        *busi,
        *(evolve(m, data="isic", value=m.value + 0.2) for m in busi),
        evolve(busi[0], data="cxr", value=9.0),
    ]
    means = averages(evolve(plan, averages=[sets, nets]), found)
    named = {(m.data, m.dimensions["exploiter"]): m.value for m in means}
    assert named == {
        ("both", "unet"): pytest.approx(0.3),
        ("both", "unet++"): pytest.approx(0.5),
        ("busi", "all"): pytest.approx(0.3),
        ("isic", "all"): pytest.approx(0.5),
        ("both", "all"): pytest.approx(0.4),
    }
    asked = evolve(plan, averages=[sets, nets])
    again = derived(asked, derived(asked, Records(found), Suite), Suite)
    assert {(m.data, m.dimensions["exploiter"]) for m in again.measurements} == set(named) | {
        (m.data, m.dimensions["exploiter"]) for m in found
    }
    assert len(again.measurements) == len(found) + len(means)  # made again, not twice


def test_a_table_by_hand(records, plan):
    table = rows(records, plan, view_of(plan, "main"), QUANTITIES.get)
    assert table[0] == ["method", "seeds", "Dice, unet", "Dice, unet++", "Dice, margin over noise, unet", "PSNR"]
    assert table[1] == ["noise", "2", "0.500 ± 0.141", "0.500", "–", "–"]
    beside = "0.020 ± 0.014 (paper 0.009 ✗)"
    assert table[2] == ["theirs", "2", beside, "–", "0.480 ± 0.156", "50.00 dB"]


def test_a_view_shows_what_it_asks_for_and_nothing_that_it_leaves_out(records, plan):
    of = View(down=["method"], across=["exploiter"], where={"metric": "dice"}, without={"method": ["theirs"]})
    assert rows(records, plan, of, QUANTITIES.get) == [
        ["method", "seeds", "unet", "unet++"],
        ["noise", "2", "0.500 ± 0.141", "0.500"],
    ]


def test_a_tick_beside_a_paper_means_the_paper_was_met(records, plan):
    for value, tick in ((0.0092, True), (0.0093, False)):
        one = Records([dice("theirs", value)], records.provenances)
        (figure,) = figures(one, plan, QUANTITIES.get)
        assert figure.paper_met is tick
        assert ("paper 0.009 ✓" in to_markdown(one, plan, view_of(plan, "main"), QUANTITIES.get)) is tick


def test_a_papers_figure_of_something_else_has_no_tick(records, plan):
    from attrs import evolve

    elsewhere = evolve(plan, reported=[evolve(plan.reported[0], unlike="other images")])
    table = rows(records, elsewhere, view_of(plan, "main"), QUANTITIES.get)
    assert table[2][2] == "0.020 ± 0.014 (paper 0.009, other images; own target ≤ 0.050 ✓)"
    only_kvasir = evolve(plan, reported=[evolve(plan.reported[0], where={"data": "Kvasir"})])
    assert [r.value for r in cited(only_kvasir)] == [0.0023]


def test_a_plan_without_views_tells_its_lines_apart(plan):
    found = [
        Measurement(
            metric="psnr", method="m", data="busi", value=v, dimensions={"pair": pair, "cover": "covers"} | more
        )
        for v, pair, more in (
            (41.0, "stego-cover", {}),
            (39.0, "stego-cover", {"statistic": "worst 5 %"}),
            (44.0, "secret-recovered", {}),
        )
    ]
    table = rows(Records(found, {}), plan, LIST, QUANTITIES.get)
    assert table[0][:5] == ["method", "metric", "data", "pair", "statistic"]  # the cover is the same in all
    assert [row[3:5] for row in table[1:]] == [
        ["stego-cover", ""],
        ["stego-cover", "worst 5 %"],
        ["secret-recovered", ""],
    ]
    assert rows(Records(found[:1], {}), plan, LIST, QUANTITIES.get)[0][:4] == ["method", "metric", "data", "n"]


def test_one_figure_a_line_with_what_it_is_compared_with(records, plan):
    table = rows(records, plan, view_of(plan, "list"), QUANTITIES.get)
    assert table[0] == ["method", "metric", "exploiter", "n", "paper", "measured here", "own target"]
    assert table[1:] == [["theirs", "Dice", "unet", "2 seeds", "0.009 ✗", "0.020 ± 0.014", "≤ 0.050 ✓"]]


def test_shares_have_wilsons_interval():
    found = [Measurement(metric="asr", value=0.8, n=10, over="images")]
    summary = summarise(found, QUANTITIES["asr"])
    assert summary.interval == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))
    theirs = binomtest(8, 10).proportion_ci(method="wilson")
    assert summary.spread == pytest.approx((theirs.high - theirs.low) / 2)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("statistic", "value"), [("mean", 0.5), ("median", 0.6), ("best", 0.2), ("worst", 0.7)])
def test_statistics_over_seeds(statistic, value):
    found = [dice("em", v, n) for n, v in enumerate((0.2, 0.6, 0.7))]
    assert summarise(found, QUANTITIES["dice"], statistic).value == pytest.approx(value)


def test_papers_are_data_with_a_source(plan, tmp_path):
    found = cited(plan)
    assert [(r.value, r.fields["data"]) for r in found] == [(0.0092, "busi"), (0.0023, "Kvasir"), (0.3255, "busi")]
    assert found[0].source == "UMed, Table 1, umed"
    assert found[1].note == "doubtful"
    (tmp_path / "paper.yaml").write_text(PAPER.replace(", null", ""))
    with pytest.raises(InputError, match="1 values for 2 columns"):
        read_paper(tmp_path / "paper.yaml")


def test_a_statistic_is_not_compared_with_a_papers_mean(plan):
    one = Records([dice("theirs", 0.001, dimensions={"statistic": "worst 5 %"})], {ORIGIN.id: ORIGIN})
    assert figures(one, plan, QUANTITIES.get)[0].reported is None


def test_leaderboard_ranks_in_the_right_direction(records, plan):
    board = leaderboard(records, plan, QUANTITIES.get)
    line = next(f for f in board["figures"] if f["method"] == "theirs" and f["metric"] == "dice")
    assert line["rank"] == 1
    assert line["reported"] == {"value": 0.0092, "source": "UMed, Table 1, umed", "met": False}
    assert line["own target"] == {"value": 0.05, "met": True}
    json.dumps(board, allow_nan=False)


def test_the_page_is_self_contained_and_escaped(records, plan):
    page = to_html(records, plan, QUANTITIES.get)
    assert "A &lt;table&gt;" in page
    assert "&lt;machine&gt;" in page
    assert "<machine>" not in page
    assert "http" not in page


def test_lines_are_drawn_along_a_numeric_dimension(plan):
    pytest.importorskip("matplotlib", reason="needs privmed[plots]")
    from attrs import evolve

    view = evolve(plan.views["main"], across=["metric"], plot="step")
    curve = [dice("ours", v, dimensions={"step": 10 * n}) for n, v in enumerate((0.5, 0.2))]
    page = to_html(Records(curve, {ORIGIN.id: ORIGIN}), evolve(plan, views={"curve": view}), QUANTITIES.get)
    assert "data:image/svg+xml" in page


def test_documents_are_filled_between_marks(records, plan, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "a\n<!-- results:table -->\nold\n<!-- /results -->\nb\n<!-- results:table list --><!-- /results -->\n"
    )
    one = Published(plan, records, QUANTITIES.get)
    assert fill_file(path, [one], check=True)
    assert "old" in path.read_text()
    assert fill_file(path, [one])
    assert "old" not in path.read_text()
    assert path.read_text().count("0.020 ± 0.014") == 2
    assert not fill_file(path, [one])
    path.write_text("<!-- results:table gone --><!-- /results -->")
    with pytest.raises(SettingsError, match="no view 'gone'; there are main, list"):
        fill_file(path, [one])


def test_a_digest_lists_figures_of_several_tables_without_notes(records, plan, tmp_path):
    path, one = tmp_path / "page.md", Published(plan, records, QUANTITIES.get)
    path.write_text("<!-- digest: table/list table/main -->\nold\n<!-- /digest -->\n")
    assert fill_file(path, [one])
    lines = path.read_text().splitlines()
    assert lines[1] == "| method | figure | data | n | paper | measured here |"
    assert lines[3] == "| theirs | Dice, unet | busi | 2 seeds | 0.009 ✗ | 0.020 ± 0.014 |"
    assert sum(line.startswith("| theirs | Dice") for line in lines) == 2 + 1  # in both tables, and its margin
    assert "abc" not in path.read_text()  # provenance stands in the tables
    assert not fill_file(path, [one])
    for mark, words in (("gone/list", "no records of 'gone'"), ("table/gone", "no view 'gone'")):
        path.write_text(f"<!-- digest: {mark} --><!-- /digest -->")
        with pytest.raises(SettingsError, match=words):
            fill_file(path, [one])


def test_a_plan_is_kept_beside_its_records(records, plan, tmp_path):
    out = tmp_path / "out"
    records.save(out / "table.jsonl")
    with pytest.raises(InputError, match=r"no plan table\.yaml"):
        load_published(tmp_path / "out/deep/table.jsonl")
    save_plan(plan, out / "table.yaml")
    kept = load_published(out / "table.jsonl")
    assert cited(kept.plan) == cited(plan)
    assert kept.plan.entries == plan.entries


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_kept_plan_is_the_plan(path, tmp_path):
    plan = read_plan(path)
    save_plan(plan, tmp_path / path.name)
    assert evolve(read_plan(tmp_path / path.name), folder="") == evolve(plan, folder="")


def test_a_kept_plan_has_empty_words_zeros_and_no_in_what_it_filters_and_sets(tmp_path):
    where = {"statistic": "", "refine": 0}
    plain = {
        "suite": "hiding",
        "name": "kept",
        "data": "busi",
        "entries": [{"label": "a", "settings": {"presence": False, "k": 0}}],
        "settings": {"fast": False},
        "views": {"main": {"down": ["method"], "across": ["metric"], "where": where}},
    }
    plan = make_plan(plain)
    save_plan(plan, tmp_path / "kept.yaml")
    kept = read_plan(tmp_path / "kept.yaml")
    assert kept.views["main"].where == where
    assert kept.entries[0].settings == {"presence": False, "k": 0}
    assert kept.settings == {"fast": False}


def test_all_mistakes_of_a_plan_are_told_at_once():
    plain = {
        "suit": "protection",
        "data": "busi",
        "entries": [{"label": "a", "setings": {}}],
        "grid": {"exploiter": [[]]},
    }
    with pytest.raises(SettingsError) as error:
        make_plan(plain)
    for words in ("no setting 'suit'", "Did you mean 'suite'", "suite is missing", "setings", "grid.exploiter"):
        assert words in str(error.value)


def test_what_does_not_fit_together_is_told_at_once():
    plain = {
        "suite": "protection",
        "data": "busi",
        "entries": [{"label": "a"}, {"label": "a", "control": "b", "grid": {"defence": ["blur"]}}],
        "targets": [{"metric": "dice"}],
        "views": {"x": {"down": ["method"], "across": ["method"], "statistic": "mode"}},
    }
    with pytest.raises(SettingsError) as error:
        make_plan(plain)
    for words in (
        "two entries",
        "control 'b'",
        "varies defence",
        "at_least or at_most",
        "statistic",
        "down and across",
    ):
        assert words in str(error.value)


def test_a_plan_that_is_no_plan_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_text("just words")
    with pytest.raises(SettingsError, match="expected settings by name"):
        read_plan(tmp_path / "x.yaml")


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.98234, "0.982"), (43.6, "43.60"), (450.2, "450")])
def test_numbers_have_as_many_digits_as_mean_something(value, text):
    assert number(value) == text
