"""Records: what is written is what is read, and what is no record is told with its line."""

import json

import pytest
from attrs import evolve

from privmed.bench.merging import merge_files
from privmed.bench.plan import make_plan
from privmed.bench.records import Measurement, Provenance, Records, merge_records, read_records
from privmed.errors import InputError

ORIGIN = Provenance(command="privmed bench run x.yaml", commit="abc", date="2026-11-25", device="a machine", threads=2)


def measured(value: float = 0.5, **more) -> Measurement:
    about = {"metric": "dice", "method": "em", "data": "busi", "dimensions": {"exploiter": "unet"}, "seed": 0}
    return Measurement(**{**about, "value": value, "provenance": ORIGIN.id, **more})


@pytest.fixture
def records():
    whole = measured(0.25, settings={"name": "em", "epsilon": 4 / 255}, n=20, spread=0.1, over="images", unit="dB")
    return Records([whole, measured(seed=1)], {ORIGIN.id: ORIGIN})


def test_round_trip(records, tmp_path):
    assert read_records(records.save(tmp_path / "deep/r.jsonl")) == records


def test_what_has_its_default_is_not_written(records, tmp_path):
    line = json.loads(records.save(tmp_path / "r.jsonl").read_text().splitlines()[-1])
    assert set(line) == {"record", "metric", "method", "data", "dimensions", "seed", "value", "provenance"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": "high"}, "value must be a number"),
        ({"valeu": 1}, "no setting 'valeu'"),
        ({"dimensions": {"seed": 1}}, "field of its own"),
        ({"dimensions": {"exploiter": ["unet"]}}, "must be text or a number"),
        ({"provenance": "gone"}, "provenance that is not there: gone"),
        ({"record": "figure"}, "no record 'figure'"),
        ({"metric": ""}, "metric must not be empty"),
    ],
)
def test_what_is_no_record_is_told(records, tmp_path, change, words):
    path = records.save(tmp_path / "r.jsonl")
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **change})
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=words) as error:
        read_records(path)
    assert "r.jsonl" in str(error.value)


def test_a_number_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        measured(float("nan"))


def test_newer_records_replace_whole_cells(records):
    new = Records([measured(0.75, seed=7)], {ORIGIN.id: ORIGIN})
    assert [m.seed for m in records.updated(new).measurements] == [7]
    other = Records([measured(0.75, method="umed")], {})
    assert len(records.updated(other).measurements) == 3


def test_disagreements_are_told_and_the_first_stays(records):
    other = Records([evolve(records.measurements[1], value=0.9), measured(seed=2)], records.provenances)
    merged, conflicts = merge_records(records, other)
    assert [m.seed for m in merged.measurements] == [0, 1, 2]
    assert merged.measurements[1].value == 0.5
    assert conflicts == ["metric dice, method em, data busi, exploiter unet, seed 1: 0.5 and 0.9"]


ENTRIES = [{"label": "noise", "method": "noise"}, {"label": "em", "method": "em", "control": "noise"}]
PLAN = {"suite": "protection", "data": "busi", "entries": ENTRIES, "margins": ["dice"]}


def margin(value, **more):
    about = {"exploiter": "unet", "of": "dice", "over": "noise", **more.pop("dimensions", {})}
    return measured(value, metric="margin", dimensions=about, **more)


def merged(tmp_path, first, second, plan):
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path, some in zip(files, (first, second)):
        Records(some, {ORIGIN.id: ORIGIN}).save(path)
    found = merge_files(*files, plan=make_plan(plan), force=True)
    fields = ("exploiter", "of", "over")
    records = read_records(files[2]).measurements
    return found, {(m.metric, m.method, *(m.dimensions.get(f) for f in fields), m.seed): m.value for m in records}


def test_what_a_plan_derives_is_made_again_over_merged_files(tmp_path):
    """An entry and its control were measured apart; the older file has a margin over a former control, and a row that went."""
    noise = measured(0.5, method="noise")
    worst = measured(0.7, dimensions={"exploiter": "worst", "judge": "unet"})
    plan = {**PLAN, "worst": [{"dimensions": ["exploiter"], "metric": "dice"}]}
    of_former = margin(0.8, dimensions={"over": "former"})
    old = [measured(0.2), worst, margin(0.9), of_former, measured(0.1, method="gone")]
    about, found = merged(tmp_path, old, [noise], plan)
    assert found == {
        ("dice", "em", "unet", None, None, 0): 0.2,
        ("dice", "noise", "unet", None, None, 0): 0.5,
        ("dice", "em", "worst", None, None, 0): 0.2,
        ("dice", "noise", "worst", None, None, 0): 0.5,
        ("margin", "em", "unet", "dice", "noise", 0): pytest.approx(0.3),
        ("margin", "em", "worst", "dice", "noise", 0): pytest.approx(0.3),
    }
    assert (about.count, about.left_out, about.conflicts) == (6, ["gone"], [])


def test_a_margin_of_means_is_made_again_and_one_of_pairs_stays(tmp_path):
    """Seeds of both sides differ, so nothing can be paired here; what was paired before may have been of seeds that were not kept."""
    unpaired = margin(0.9, seed=None, over="unpaired")
    _, found = merged(tmp_path, [measured(0.2, seed=1), unpaired], [measured(0.5, method="noise", seed=2)], PLAN)
    assert found["margin", "em", "unet", "dice", "noise", None] == pytest.approx(0.3)
    paired = margin(0.9, seed=None)
    _, found = merged(tmp_path, [measured(0.2, seed=1), paired], [measured(0.5, method="noise", seed=2)], PLAN)
    assert found["margin", "em", "unet", "dice", "noise", None] == 0.9
    _, found = merged(tmp_path, [measured(0.2), paired], [measured(0.5, method="noise")], {**PLAN, "margins": []})
    assert not [key for key in found if key[0] == "margin"]


def test_a_plan_of_other_entries_empties_no_file(tmp_path):
    other = {**PLAN, "entries": [{"label": "other", "method": "em"}]}
    with pytest.raises(InputError, match="nothing in them is of an entry of plan"):
        merged(tmp_path, [measured()], [measured(seed=1)], other)
    assert not (tmp_path / "c.jsonl").exists()


def test_a_run_log_holds_nothing_that_a_plan_derives(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"key": "x", "values": []}\n')
    plan = make_plan({"suite": "protection", "data": "busi", "entries": [{"label": "em", "method": "em"}]})
    with pytest.raises(InputError, match="is a run log, which holds nothing that a plan derives"):
        merge_files(tmp_path / "runs.jsonl", tmp_path / "runs.jsonl", tmp_path / "c.jsonl", plan=plan)
