"""Training plain hiders: the adversarial term, and batch normalisation whose statistics stay."""

import pytest
import torch
from torch import nn

from privmed import registry
from privmed.errors import SettingsError
from privmed.training import read_recipe, run
from privmed.training.adversary import Discriminator
from privmed.training.loop import Trainer
from privmed.training.make import make_task

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")

TINY = [
    "data.crop=32",
    "data.size=32",
    "data.batch=2",
    "data.validation=0.4",
    "schedule.warmup=0",
    "schedule.validate=2",
    "schedule.steps=4",
    "loss.adversarial=0.01",
    "settings={width: 8, before: 1, after: 1, decoder: 1}",
]


def test_the_discriminator_has_the_parameters_of_the_comparison():
    assert sum(p.numel() for p in Discriminator().parameters()) == 76_097


def test_each_side_of_the_adversarial_loss_moves_its_own_weights_only():
    judge = Discriminator(width=8)
    cover, stego = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16, requires_grad=True)
    judge.own_loss(stego, cover).backward()
    assert stego.grad is None
    assert all(p.grad is not None for p in judge.parameters())
    judge.zero_grad()
    judge.hider_loss(stego).backward()
    assert stego.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_covers_are_true_and_the_hider_wants_its_stegos_to_be():
    class Bright(Discriminator):
        def forward(self, images):
            return 40 * (images.mean((1, 2, 3))[:, None] - 0.5)

    judge, taken, told = Bright(width=1), torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    assert judge.own_loss(stego=told, cover=taken) < 1e-3
    assert judge.own_loss(stego=taken, cover=told) > 10
    assert judge.hider_loss(taken) < 1e-3
    assert judge.hider_loss(told) > 10


def test_the_discriminator_learns_to_tell_blurred_images():
    torch.manual_seed(0)
    judge = Discriminator(width=8)
    optimizer = torch.optim.Adam(judge.parameters(), 3e-2)
    for _ in range(60):
        cover = torch.rand(4, 3, 16, 16)
        loss = judge.own_loss(torch.nn.functional.avg_pool2d(cover, 3, 1, 1), cover)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_the_adversarial_term_trains_both_and_only_the_hider_is_saved(recipe, tmp_path):
    task = make_task(read_recipe(recipe(method="hider:hidden"), TINY), "cpu")
    trainer = Trainer(task, tmp_path)
    before = {k: v.clone() for k, v in task.models.state_dict().items()}
    seen = trainer.advance(0)
    errors = sum(10 ** (-seen[name] / 10) for name in ("stego", "secret"))
    assert (
        0 < seen["loss"] - errors < 0.02
    )  # a hundredth of the hider's term; the discriminator's own, of over 1, is not in it
    assert seen["discriminator"] > 1
    moved = {k.partition(".")[0] for k, v in task.models.state_dict().items() if not torch.equal(before[k], v)}
    assert moved == {"hider", "discriminator"}
    out = run(recipe(method="hider:hidden"), overrides=TINY, out=tmp_path / "out", quiet=True)
    assert out["steps"] == 4
    registry.create("hider", "hidden", weights=tmp_path / "out/hidden-tiny.safetensors")


def test_statistics_stay_from_the_step_on_that_the_recipe_names(recipe, tmp_path):
    task = make_task(read_recipe(recipe(method="hider:hidden"), [*TINY, "schedule.statistics=1"]), "cpu")
    trainer = Trainer(task, tmp_path)
    statistics = lambda: torch.cat([m.running_mean for m in norms(task.method)]).clone()  # noqa: E731
    start = statistics()
    trainer.advance(0)
    followed = statistics()
    assert not torch.equal(start, followed)
    trainer.validate()  # which puts everything back into training mode
    trainer.advance(1)
    assert torch.equal(followed, statistics())
    assert all(m.training for m in norms(task.discriminator))


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["deepstega", "hidden"])
def test_a_resumed_run_equals_an_uninterrupted_one(recipe, tmp_path, name):
    small = "{levels: 1, preparation: 1}" if name == "deepstega" else "{width: 8, before: 1, after: 1, decoder: 1}"
    more = [*TINY[:-1], f"settings={small}", "schedule.cooldown=0", "schedule.statistics=3"]
    path = recipe(method=f"hider:{name}")
    run(path, overrides=more, out=tmp_path / "whole", quiet=True)
    run(path, overrides=[*more, "schedule.steps=2"], out=tmp_path / "parts", quiet=True)
    run(path, overrides=more, out=tmp_path / "parts", resume=True, quiet=True)
    whole, parts = ((tmp_path / d / f"{name}-tiny.safetensors").read_bytes() for d in ("whole", "parts"))
    assert whole == parts


def test_statistics_below_zero_are_refused(recipe):
    with pytest.raises(SettingsError, match="statistics must be at least 0"):
        read_recipe(recipe(), ["schedule.statistics=-1"])
