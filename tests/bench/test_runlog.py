"""The run log survives what happens to machines."""

import pytest

from privmed.bench.merging import merge_files
from privmed.bench.runlog import RunLog
from privmed.errors import InputError


def filled(path, *keys, value=1.0):
    log = RunLog(path)
    for key in keys:
        log.add(key, values=[{"metric": "dice", "value": value}], commit="abc")
    return log


def test_a_cut_last_line_costs_that_run_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    filled(path, "a", "b")
    whole = path.read_bytes()
    for length in range(len(whole) // 2 + 1, len(whole)):
        path.write_bytes(whole[:length])
        log = RunLog(path)
        assert "a" in log
        assert "b" not in log or length == len(whole) - 1  # the newline alone is missing
        log.add("b", values=[])
        log.add("c", values=[])
        assert set(RunLog(path).runs) == {"a", "b", "c"}


def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path):
    path = tmp_path / "runs.jsonl"
    filled(path, "a", "b")
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(InputError, match=r"runs\.jsonl, line 1"):
        RunLog(path)


def test_what_others_added_is_seen(tmp_path):
    path = tmp_path / "runs.jsonl"
    mine = filled(path, "a")
    filled(path, "b")
    assert "b" not in mine
    mine.refresh()
    assert "b" in mine


def test_logs_merge_and_conflicts_are_told(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    filled(a, "x", "y")
    other = filled(b, "y", "z", value=2.0)
    other.add("x", values=[{"metric": "dice", "value": 1.0}], commit="another commit, the same values")
    merged = merge_files(a, b, tmp_path / "c.jsonl")
    assert merged.conflicts == ["y: dice 1 and dice 2"]
    assert merged.count == 3
    assert RunLog(tmp_path / "c.jsonl")["y"]["values"][0]["value"] == 1.0
    assert len(RunLog(a)) == 2


def test_only_files_of_one_kind_merge(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    filled(a, "x")
    b.write_text('{"record": "provenance", "id": "1"}\n')
    with pytest.raises(InputError, match="do not merge"):
        merge_files(a, b, tmp_path / "c.jsonl")
    b.write_text("{}\n")
    with pytest.raises(InputError, match="neither"):
        merge_files(a, b, tmp_path / "c.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        merge_files(a, tmp_path / "gone.jsonl", tmp_path / "c.jsonl")
