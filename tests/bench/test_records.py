"""Records: what is written is what is read, and what is no record is told with its line."""

import json

import pytest
from attrs import evolve

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
