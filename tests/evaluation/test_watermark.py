"""How watermarks are judged: shares by hand, and a run that goes on where it stopped."""

import numpy as np
import pytest
import torch

import privmed
from privmed.evaluation.watermark import Case, Trial, asr, interval, run_trial, transfer
from privmed.testing.watermarker_checks import sample_logo


def dark_or_bright(threshold):
    def model(x):
        lead = 30 * (x.mean((1, 2, 3)) - threshold)
        return torch.softmax(torch.stack([-lead, lead], 1), 1)

    return model


@pytest.fixture
def cases():
    rng = np.random.default_rng(0)
    views = [np.clip(rng.normal(level, 5, (64, 64)), 0, 255).astype(np.uint8) for level in (100, 110, 150, 105)]
    mask = np.zeros((64, 64))
    mask[10:20, 10:20] = 1
    return [Case(name=f"a/{i}.png", view=v, label=0, mask=mask if i else None) for i, v in enumerate(views)]


def test_only_what_the_source_has_right_is_attacked(cases, tmp_path):
    pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
    models = {"soft": dark_or_bright(0.45), "hard": dark_or_bright(0.9)}
    locker = privmed.watermarker("medlocker", population=6, generations=1, hops=1)
    journal = tmp_path / "journal.jsonl"
    lines = run_trial(Trial(source="soft"), locker, sample_logo(), models, cases, journal, together=2)
    assert [r["file"] for r in lines] == ["a/0.png", "a/1.png", "a/3.png"]
    assert sum(transfer(lines, "hard")) == 0
    text = journal.read_text()
    again = run_trial(Trial(source="soft"), locker, sample_logo(), models, cases, journal, together=2)
    assert again == lines
    assert journal.read_text() == text
    outside = run_trial(Trial(source="soft", where="outside"), locker, sample_logo(), models, cases, journal)
    assert [r["file"] for r in outside] == ["a/1.png", "a/3.png"]
    assert {r["covered"] for r in outside} == {0.0}


def test_shares_by_hand():
    lines = [
        {"success": True, "label": 0, "before": {"b": 0}, "after": {"b": 1}},
        {"success": True, "label": 0, "before": {"b": 0}, "after": {"b": 0}},
        {"success": True, "label": 0, "before": {"b": 1}, "after": {"b": 1}},
        {"success": False, "label": 0, "before": {"b": 0}, "after": {"b": 1}},
    ]
    assert asr(lines) == [1, 1, 1, 0]
    assert transfer(lines, "b") == [1, 0]
    low, high = interval([1.0] * 8 + [0.0] * 2)  # 80 % of 10: 49 to 94 %
    assert low == pytest.approx(0.490, abs=1e-3)
    assert high == pytest.approx(0.943, abs=1e-3)
