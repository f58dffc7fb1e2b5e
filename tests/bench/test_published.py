"""What is published: no figure of the first release got lost or changed when tables became records; plans and documents agree."""

import json
from pathlib import Path

import pytest

from privmed import registry, weights
from privmed.bench.documents import MARK, fill_digests, fill_document
from privmed.bench.figures import figures
from privmed.bench.gathering import derived
from privmed.bench.plan import read_plan
from privmed.bench.published import load_published
from privmed.bench.reported import cited, read_paper
from privmed.bench.tables import to_markdown

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
PLANS = sorted((ROOT / "benchmarks").glob("*.yaml"))
DOCUMENTS = ("README.md", "docs/results.md", "plugins/privmed-watermarkers/README.md")
NEW = (
    "hiding-sets",
    "hiding-groups",
    "hiding-key",
    "protection-busi-waves",
    "protection-busi-cls",
    "protection-cxr-cls",
    "visible",
    "protection-busi-umed",
    "protection-herlev-cls",
    "watermark-controls",
    "jobs",
    "detection",
    "detection-network",
    "detection-responses",
    "steps",
    "covert-pairs",
    "covert-classes",
    "covert-sources",
    "covert-nothing",
    "covert-missed",
    "covert-hidemia",
    "detection-faint",
    "detection-quiet",
    "covert-wire",
    "hiding-four",
    "covert-cxr",
    "covert-diagnosis",
    "covert-lungs",
    "large",
    "costs",
    "hiding-forks",
)  # tables that the first release did not have
BEFORE = json.loads((Path(__file__).parent / "figures.json").read_text(encoding="utf-8"))
# Rows of an earlier umed whose images were its starting pattern's: they stand under the name of what they are, without the paper's figures.
RENAMED = {
    "umed": "tint",
    "umed, robust": "tint, robust fit",
    "umed, 8/255": "tint, 8/255",
    "umed in colour, without a fit": "tint, in colour",
}
RENAMED_IN = {"protect-time": {**RENAMED, "umed": "tint, with its former fit"}}


def loaded(plan):
    return load_published(RESULTS / f"{plan.stem}.jsonl")


def close(value):
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_no_figure_got_lost_or_changed(plan):
    """The fixture holds every figure of the former results: its words, its new fields, and its numbers."""
    one = loaded(plan)
    found = {tuple(sorted(f.fields.items(), key=str)): f for f in figures(one.records, one.plan, one.describe)}
    mine = [row for row in BEFORE if row[0] == plan.stem and row[3]]
    assert mine or plan.stem in ("curves", *NEW)
    renamed = RENAMED_IN.get(plan.stem, RENAMED)
    for _, name, _method, fields, measured, spread, n, reported, target in mine:
        method = fields.get("method")
        key = tuple(sorted({**fields, "method": renamed.get(method, method)}.items(), key=str))
        f = found[key]
        shares = f.summary.interval is not None
        assert (f.summary.value, f.summary.n) == (close(measured), n), name
        assert f.summary.spread == (pytest.approx(spread, abs=1e-6) if shares else close(spread)), name
        if reported is not None and method not in renamed:
            assert f.reported is not None, name
            assert f.reported.value == close(reported), name
        assert (f.target.value if f.target else None) == close(target), name


@pytest.mark.parametrize("data", ["busi", "isic"])
def test_covert_analysis_is_measured_with_the_weights_that_are_shipped(data):
    card = weights.read_card(weights.bundled(registry.load("analyzer", "hidemia"))[data])
    for plan in ("covert", "covert-sources"):
        made = loaded(ROOT / f"benchmarks/{plan}.yaml").records.provenances.values()
        assert {p.weights[f"hidemia {data}"] for p in made if p.weights} == {card["sha256"][:12]}


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_what_plans_derive_follows_from_what_was_measured(plan):
    """No margin is left over of a control that was measured again; what was measured before its control was is not made up here."""
    one = loaded(plan)
    again = derived(one.plan, one.records, registry.load("suite", one.plan.suite))
    mine = {(*m.cell, m.seed): m.value for m in one.records.measurements}
    made = {(*m.cell, m.seed): m.value for m in again.measurements}
    assert {k: v for k, v in mine.items() if k in made} == {k: close(made[k]) for k in mine if k in made}


def test_every_figure_has_its_table():
    assert len(BEFORE) > 900
    assert {row[0] for row in BEFORE} == {p.stem for p in PLANS} - set(NEW)


def test_learning_curves_are_whole():
    _, _, _, _, total, _, count, *_ = next(row for row in BEFORE if row[0] == "curves")
    values = [m.value for m in loaded(ROOT / "benchmarks/curves.yaml").records.measurements]
    assert len(values) == count
    assert sum(values) == pytest.approx(total)


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_every_view_shows_something_of_known_quantities(plan):
    one = loaded(plan)
    for m in one.records.measurements:
        assert m.metric in ("margin", "ratio") or one.describe(m.metric) is not None, m.metric
    for name, view in one.plan.views.items():
        if name != "worst":  # measured from now on
            assert len(to_markdown(one.records, one.plan, view, one.describe).splitlines()) > 2, name


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_plans_name_what_there_is(plan):
    read = read_plan(plan)
    suite = registry.load("suite", read.suite)
    assert set(read.grid) <= set(suite.grid)
    labels = {e.label for e in read.entries}
    assert {t.method for t in read.targets} - {""} <= labels
    for entry in read.entries:
        if entry.method and entry.method not in suite.baselines:
            cls = registry.load(suite.methods, entry.method)
            assert set(entry.settings) <= {a.name for a in cls.Config.__attrs_attrs__}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/reported").glob("*.yaml")), ids=lambda p: p.stem)
def test_reported_values_are_of_a_paper(path):
    values = [one for _, one in read_paper(path)]
    assert len(values) > 40
    assert all(one.source and one.fields for one in values)


def test_papers_are_quoted_to_the_digit():
    """A few values, copied by hand from the papers."""
    by = {}
    for name in ("umed", "hidemia", "medlocker"):
        for table, one in read_paper(ROOT / f"benchmarks/reported/{name}.yaml"):
            by.setdefault((name, table, one.metric, one.fields.get("method"), one.fields.get("data")), []).append(
                one.value
            )
    assert by["umed", "1", "dice", "umed", "BUSI"] == [0.0092]
    assert by["umed", "4", "psnr", "umed", "Kvasir-SEG"] == [51.71]
    assert by["hidemia", "7", "psnr", "hinet", "BUSI"] == [45.27]
    assert by["hidemia", "1", "dice", "hidemia", "Kvasir-SEG"] == [0.7756]
    assert by["medlocker", "1", "asr", "basin hopping", "EyePACS"][0] == 0.7169


def test_grey_breast_ultrasound_alone_stands_beside_the_papers_figures():
    """The noise of UMed's paper has as many channels as the image: none of its figures stands beside colour, or other images."""
    for plan in PLANS:
        read = read_plan(plan)
        if plan.stem.startswith("protection-busi-colour") or plan.stem.startswith("protection-isic"):
            assert not cited(read), plan.stem
        for one in cited(read):
            if plan.stem.startswith("watermark"):
                assert one.unlike, f"{plan.stem}: {one}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_show_what_the_records_say(document):
    """Nobody types a number: every table in a document is the one rendered from its records."""
    import re

    text = (ROOT / document).read_text(encoding="utf-8")
    names = re.findall(r"<!-- results:([\w-]+)", text)
    digests = {part.split("/")[0] for mark in re.findall(r"<!-- digest:(.*?) -->", text) for part in mark.split()}
    assert names or digests
    assert fill_digests(text, [loaded(ROOT / f"benchmarks/{name}.yaml") for name in sorted(digests)]) == text
    for name in names:
        one = loaded(ROOT / f"benchmarks/{name}.yaml")
        assert fill_document(text, one) == text, f"{document} does not show {name}"
        assert re.search(MARK.format(name=name), text, re.DOTALL)
        assert all(p.commit != "unknown" for p in one.records.provenances.values())
