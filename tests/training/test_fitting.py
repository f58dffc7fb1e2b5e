"""The fitting loop: an interrupted fit gives what a whole one gives, and steps that cannot be taken move nothing."""

import copy

import pytest
import torch
from torch import nn

from privmed.errors import TrainingError, WeightsError
from privmed.files import write_tensors
from privmed.interfaces.fitting import Fitting
from privmed.training.fitting import Loop, averaged, optimizer_step, reset, running_average


def network():
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


def fit(checkpoint=None, total=6, breaks_at=None, stops_at=None, report=None):
    """Train with dropout and fresh draws, from torch's global generator; a checkpoint every second turn."""
    model = network()
    reset(model, network, seed=3)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    loop = Loop(total, {"model": model, "optimizer": optimizer}, Fitting(report, checkpoint))
    losses = loop.notes.setdefault("losses", [])
    for turn in loop:
        if turn == breaks_at:
            raise KeyboardInterrupt
        loss = (model(torch.randn(4, 3)) - turn).square().mean()
        optimizer_step(loss, optimizer)
        losses.append(float(loss.detach()))
        if turn == stops_at:
            loop.stop()
        if loop.done % 2 == 0:
            loop.keep()
        loop.report("turns", loss=losses[-1])
    return model.state_dict(), losses


def test_an_interrupted_fit_goes_on_to_the_same_end(tmp_path):
    whole, losses = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "fit.pt", breaks_at=5)
    torch.manual_seed(99)
    parts, also = fit(tmp_path / "fit.pt")
    assert also == losses
    assert len(losses) == 6
    assert all(torch.equal(whole[name], value) for name, value in parts.items())


def test_a_fit_that_was_stopped_stays_so(tmp_path):
    told = []
    _, losses = fit(tmp_path / "fit.pt", stops_at=3, report=lambda *line: told.append(line))
    assert told == [("turns", n + 1, 6, {"loss": loss}) for n, loss in enumerate(losses)]
    assert len(losses) == 4
    assert fit(tmp_path / "fit.pt")[1] == losses


def test_a_longer_fit_goes_on_from_a_shorter_one(tmp_path):
    fit(tmp_path / "fit.pt", total=4)
    assert fit(tmp_path / "fit.pt", total=6)[1] == fit(total=6)[1]


def test_a_loop_goes_back_as_often_as_one_wants():
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    loop, turns, drawn = Loop(3, {"layer": layer, "optimizer": optimizer}), [], []
    start = loop.snapshot()
    for turn in loop:
        turns.append(turn)
        drawn.append(float(torch.rand(())))
        optimizer_step(layer(torch.ones(1, 1)).sum(), optimizer)
        if len(turns) in (2, 4):
            loop.restore(start)
    assert turns == [0, 1, 0, 1, 0, 1, 2]
    assert drawn[:2] == drawn[2:4] == drawn[4:6]


@pytest.mark.parametrize(
    "old",
    [
        {"step": 4, "models": {}, "optimizer": {}, "recipe": {}},
        {"of": "", "state": {"epoch": 4, "model": {}, "optimizer": {}}},
        {"of": "", "state": {"done": 1, "stopped": False, "parts": {"model": {}}, "notes": {}, "draws": {}}},
        [],
    ],
    ids=["a training", "a fit", "other parts", "no fit at all"],
)
def test_checkpoints_of_another_version_are_one_sentence(tmp_path, old):
    write_tensors(tmp_path / "fit.pt", old)
    with pytest.raises(
        WeightsError, match=r"fit\.pt: was made by another version of privmed.*Delete it to start afresh"
    ):
        fit(tmp_path / "fit.pt")


def test_a_step_goes_down_and_is_clipped():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer_step((weight * 1e6).sum(), torch.optim.SGD([weight], lr=0.1), clip=5.0)
    assert (torch.tensor([3.0, 4.0]) - weight).norm().item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("function", [lambda w: (w * torch.inf).sum(), lambda w: (w - 3).sqrt().sum()])
def test_what_is_not_finite_moves_nothing(function):
    """The loss; or its gradient alone, as that of a root at zero."""
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    with pytest.raises(TrainingError, match=r"^the exploiter diverged.*Lower its learning rate.*and start afresh\.$"):
        optimizer_step(function(weight), torch.optim.SGD([weight], lr=0.1), what="the exploiter")
    assert weight.tolist() == [3, 4]


def test_the_average_is_warmed_up_and_holds_everything():
    """By the formula, bit for bit: floating numbers are averaged, counters are copied, and the initial state counts as one."""
    torch.manual_seed(0)
    model, decay = network(), 0.3  # reached at the fourth of eight updates
    average = running_average(model, decay)
    expected = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for n in range(1, 9):
        optimizer_step(model(torch.randn(4, 3)).square().mean(), optimizer)
        average.update_parameters(model)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        for name, value in model.state_dict().items():
            expected[name] = expected[name].lerp(value, weight) if value.is_floating_point() else value.clone()
    present = copy.deepcopy(model.state_dict())
    with averaged(model, average):
        assert not model.training
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(torch.equal(value, present[name]) for name, value in model.state_dict().items())
    assert not torch.equal(present["0.weight"], expected["0.weight"])
