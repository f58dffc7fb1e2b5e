"""What several photographs say together, where the answer of one is not that to a scan."""

from types import SimpleNamespace

import pytest
import torch

from privmed.covert.outcome import FINDING, NO_STEGO, NOTHING_FOUND, UNFAMILIAR, Outcome
from privmed.covert.several import join, section

FULL, EMPTY = torch.full((1, 1, 8, 8), 0.9), torch.full((1, 1, 8, 8), 0.1)


def answers(*kinds_and_maps):
    """Results of one scan in several photographs."""
    return [
        SimpleNamespace(prediction=found, outcome=Outcome(kind=kind, figures={"foreground": 0.0}, hidden=True))
        for kind, found in kinds_and_maps
    ]


@pytest.mark.parametrize("odd", [NO_STEGO, UNFAMILIAR])
def test_an_answer_to_no_scan_is_left_out(odd):
    together = join(answers((FINDING, FULL), (odd, EMPTY), (FINDING, FULL)), None)
    assert together.outcome.kind == FINDING
    assert together.figures == {"outcome": FINDING, "foreground": 1.0, "disagreement": 0.0, "left_out": 1}
    assert together.average.prediction.equal(FULL)
    assert together.words.endswith("disagree by 0.00 of 1; left out: 1, not recognised or unfamiliar")


def test_of_two_the_usual_one_decides_and_nothing_is_said_of_agreement():
    together = join(answers((NO_STEGO, FULL), (NOTHING_FOUND, EMPTY)), None)
    assert (together.outcome.kind, together.figures["disagreement"], together.figures["left_out"]) == (
        NOTHING_FOUND,
        None,
        1,
    )
    assert together.words.startswith("nothing was found; it rests on one photograph; left out: 1")
    assert "uncertainty" not in together.images
    assert len(section(together, torch.zeros(1, 3, 8, 8))["pictures"]) == 1


def test_where_most_are_odd_the_whole_is():
    """And it does not say that nothing was hidden, of scans that it has hidden itself."""
    together = join(answers((NO_STEGO, FULL), (NO_STEGO, FULL), (FINDING, EMPTY)), None)
    assert (together.outcome.kind, together.figures["left_out"]) == (NO_STEGO, 0)
    assert "was not recognised" in together.words
    assert "no stego" not in together.words
    assert 0 < together.figures["disagreement"] < 1
