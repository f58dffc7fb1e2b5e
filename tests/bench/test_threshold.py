"""benchmarks/threshold.py: the table by which a threshold is chosen."""

import importlib.util
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("threshold", Path(__file__).parents[2] / "benchmarks/threshold.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def rows(capsys, *about):
    script.report(*about)
    """The title, what is read by probability, and what is read by peak."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    peaks = lines.index(["peak", *lines[1][2:]])
    by_threshold, by_peak = (
        {float(p): [float(x) for x in rest] for p, *rest in part} for part in (lines[2:peaks], lines[peaks + 1 :])
    )
    return " ".join(lines[0]), by_threshold, by_peak


def test_lesions_are_missed_and_silence_kept_by_probability(capsys):
    """Of two lesions one is found at 0.9 and one at 0.6; of two empty scans one is marked at 0.8, one at nothing that counts."""
    truth = torch.zeros(4, 1, 16, 16)
    truth[:2, ..., :8] = 1
    found = torch.full_like(truth, 0.01)
    found[0, ..., :8], found[1, ..., :8] = 0.9, 0.6
    found[2, ..., :4] = 0.8
    title, table, _ = rows(capsys, found, truth, 10.0, 0.5)
    assert title == "2 answers to scans with a lesion, 2 to scans without"
    assert table[0.5] == [pytest.approx(0.5, abs=1e-3), 1, 0, 0.5]
    assert table[0.7][1:] == [0.5, 0.5, 0.5]
    assert table[0.85][1:] == [0.5, 0.5, 1]
    assert table[0.95][1:] == [0, 1, 1]


def test_a_peak_keeps_whole_regions_or_none(capsys):
    """A lesion that reaches 0.96 somewhere is marked as far as it is above 0.5; one that stays at 0.6 is not, nor is a mark of 0.8."""
    truth = torch.zeros(3, 1, 16, 16)
    truth[:2, ..., :8] = 1
    found = torch.full_like(truth, 0.01)
    found[:2, ..., :8], found[0, 0, 3, 3] = 0.6, 0.96
    found[2, ..., :4] = 0.8
    _, _, table = rows(capsys, found, truth, 10.0, 0.5)
    assert table[0.95] == [pytest.approx(0.5, abs=1e-3), 0.5, 1]
    assert table[0.98][1:] == [1, 1]


def test_the_threshold_beside_a_probability_reads_the_same(capsys):
    """What is marked above P by the threshold that was read with is what is marked above 0.5 by the one beside P."""
    gain, threshold = 12.0, 0.4
    truth = torch.tensor([0.0, 1]).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    _, table, _ = rows(capsys, torch.rand(2, 1, 16, 16), truth, gain, threshold)
    values = torch.linspace(0, 1, 997)
    for p, (same, *_) in table.items():
        values = values[(values - same).abs() > 0.001]  # it is printed to three digits
        assert ((gain * (values - threshold)).sigmoid() > p).equal((gain * (values - same)).sigmoid() > 0.5), p
