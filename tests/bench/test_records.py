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


def test_what_a_plan_derives_is_made_again_over_merged_files(tmp_path):
    """An entry and its control were measured apart; the older file has a margin over a former control, and a row that went."""
    noise = measured(0.5, method="noise")
    worst = {"exploiter": "worst", "judge": "unet"}
    margin = measured(0.9, metric="margin", dimensions={"exploiter": "unet", "of": "dice", "over": "noise"})
    old = [measured(0.2), measured(0.7, dimensions=worst), margin, measured(0.1, method="gone")]
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    Records(old, {ORIGIN.id: ORIGIN}).save(files[0])
    Records([noise], {ORIGIN.id: ORIGIN}).save(files[1])
    entries = [{"label": "noise", "method": "noise"}, {"label": "em", "method": "em", "control": "noise"}]
    plan = {"suite": "protection", "data": "busi", "entries": entries, "margins": ["dice"]}
    plan = make_plan({**plan, "worst": [{"dimensions": ["exploiter"], "metric": "dice"}]})
    merge_files(*files, plan=plan)
    found = {(m.metric, m.method, m.dimensions["exploiter"]): m.value for m in read_records(files[2]).measurements}
    assert found == {
        ("dice", "em", "unet"): 0.2,
        ("dice", "noise", "unet"): 0.5,
        ("dice", "em", "worst"): 0.2,
        ("dice", "noise", "worst"): 0.5,
        ("margin", "em", "unet"): pytest.approx(0.3),
        ("margin", "em", "worst"): pytest.approx(0.3),
    }
    merge_files(*files, force=True)
    assert {m.value for m in read_records(files[2]).measurements} == {0.2, 0.7, 0.9, 0.1, 0.5}


def test_a_run_log_holds_nothing_that_a_plan_derives(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"key": "x", "values": []}\n')
    plan = make_plan({"suite": "protection", "data": "busi", "entries": [{"label": "em", "method": "em"}]})
    with pytest.raises(InputError, match="is a run log, which holds nothing that a plan derives"):
        merge_files(tmp_path / "runs.jsonl", tmp_path / "runs.jsonl", tmp_path / "c.jsonl", plan=plan)
