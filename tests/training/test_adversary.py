"""Training plain hiders: the adversarial term, and batch normalisation whose statistics stay."""

import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn

from privmed import registry
from privmed.errors import SettingsError
from privmed.training import read_recipe, run
from privmed.training.adversary import Detector, Discriminator
from privmed.training.loop import Trainer
from privmed.training.losses import smoothness
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
    judge.hider_loss(stego, cover).backward()
    assert stego.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_covers_are_true_and_the_hider_wants_its_stegos_to_be():
    class Bright(Discriminator):
        def forward(self, images):
            return 40 * (images.mean((1, 2, 3))[:, None] - 0.5)

    judge, taken, told = Bright(width=1), torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    assert judge.own_loss(stego=told, cover=taken) < 1e-3
    assert judge.own_loss(stego=taken, cover=told) > 10
    assert judge.hider_loss(taken, told) < 1e-3
    assert judge.hider_loss(told, taken) > 10


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
    assert seen["adversary"] > 1
    moved = {k.partition(".")[0] for k, v in task.models.state_dict().items() if not torch.equal(before[k], v)}
    assert moved == {"hider", "adversary"}
    out = run(recipe(method="hider:hidden"), overrides=TINY, out=tmp_path / "out", quiet=True)
    assert out["steps"] == 4
    registry.create("hider", "hidden", weights=tmp_path / "out/hidden-tiny.safetensors")


def test_a_detector_looks_at_the_file_and_moves_only_the_hider_in_its_turn():
    judge = Detector(width=2).eval()
    cover = torch.rand(2, 3, 16, 16)
    faint = cover.mul(255).round().div(255)
    assert torch.equal(judge(faint), judge(faint + 0.4 / 255))  # what rounding takes away is not seen
    stego = torch.rand(2, 3, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert judge(faint).dtype == torch.float32
    judge.train().own_loss(stego, cover).backward()
    assert stego.grad is None
    assert all(p.grad is not None for p in judge.parameters())
    judge.zero_grad()
    before = {name: b.clone() for name, b in judge.named_buffers()}
    judge.hider_loss(stego, cover).backward()
    assert stego.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())
    assert all(torch.equal(b, before[name]) for name, b in judge.named_buffers())


def test_a_detector_lays_images_out_as_its_weights_may_be_trained(monkeypatch):
    """Narrow networks in channels_last write past their buffers on some processors."""
    judge, seen = Detector(width=2), []
    monkeypatch.setattr("privmed.training.adversary.safe_layout", lambda device: torch.contiguous_format)
    judge.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    judge(torch.rand(2, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    assert seen == [True]


def test_what_clips_says_nothing_to_a_hider_that_is_trained_so(recipe):
    for clipping in (False, True):
        more = [
            *TINY,
            "loss.adversary=srnet",
            f"loss.clipping={str(clipping).lower()}",
            "loss.secret=0",
            "loss.stego=0",
        ]
        task = make_task(read_recipe(recipe(method="hider:hidden"), more), "cpu")
        over = torch.full((2, 3, 32, 32), 1.2, requires_grad=True)
        task.method.hide = lambda secret, cover, over=over, **how: over
        task.method.recover = lambda stego, **how: stego
        task.loss(0)[0].backward()
        assert bool((over.grad == 0).all()) is clipping


@pytest.mark.parametrize("setting", ["loss.adversary=srnet", "optimizer.adversary=2"])
def test_an_adversary_that_nothing_asks_for_is_refused(recipe, setting):
    with pytest.raises(SettingsError, match=r"loss\.adversarial is 0, so no adversary is trained"):
        read_recipe(recipe(), [setting])


def test_a_run_beside_a_detector_resumes(recipe, tmp_path):
    more = [*TINY, "loss.adversary=srnet", "optimizer.name=muon", "optimizer.adversary=3", "schedule.cooldown=0"]
    path = recipe(method="hider:hidden")
    run(path, overrides=more, out=tmp_path / "whole", quiet=True)
    run(path, overrides=[*more, "schedule.steps=2"], out=tmp_path / "parts", quiet=True)
    run(path, overrides=more, out=tmp_path / "parts", resume=True, quiet=True)
    whole, parts = ((tmp_path / d / "hidden-tiny.safetensors").read_bytes() for d in ("whole", "parts"))
    assert whole == parts


def test_a_detector_learns_noise_of_two_grey_levels_and_the_hider_wants_none():
    torch.manual_seed(0)
    judge = Detector(width=4)
    optimizer = torch.optim.Adamax(judge.parameters(), 5e-3)
    for _ in range(60):
        cover = torch.linspace(0.2, 0.8, 32).expand(4, 3, 32, 32) + 0.1 * torch.rand(4, 3, 1, 1)
        stego = cover + torch.randn(4, 3, 32, 32) * 2 / 255
        loss = judge.own_loss(stego, cover)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5
    assert judge.hider_loss(stego, cover) > 2 * judge.hider_loss(cover, cover)


def test_an_opponent_has_rates_of_its_own(recipe, tmp_path):
    more = [*TINY, "loss.adversary=srnet", "optimizer.adversary=5"]
    for name, rates in (("adam", {1e-3, 5e-3}), ("muon", {1e-3, 2e-3, 5e-3, 1e-2})):
        chosen = [f"optimizer.name={name}", "optimizer.rate=1e-3", "optimizer.vector_rate=2e-3"]
        task = make_task(read_recipe(recipe(method="hider:hidden"), [*more, *chosen]), "cpu")
        trainer = Trainer(task, tmp_path / name)
        rate = {id(p): round(g["initial_lr"], 9) for g in trainer.optimizer.param_groups for p in g["params"]}
        assert set(rate.values()) == rates
        assert {rate[id(p)] for p in task.adversary.parameters()} == {r for r in rates if r >= 5e-3}
        assert {rate[id(p)] for p in task.method.parameters()} == {r for r in rates if r < 5e-3}


def test_masking_moves_the_cost_of_a_change_to_smooth_places():
    cover = torch.full((1, 3, 32, 32), 0.5)
    cover[..., 16:] += 0.3 * torch.randn(1, 1, 32, 16, generator=torch.Generator().manual_seed(0))
    cost = smoothness(cover, 1.0)
    assert cost.shape == (1, 1, 32, 32)
    assert float(cost.mean()) == pytest.approx(1)
    assert float(cost[..., :12].mean()) > 8 * float(cost[..., 20:].mean())
    inner = uniform_filter(cover[0].mean(0).numpy() ** 2, 5) - uniform_filter(cover[0].mean(0).numpy(), 5) ** 2
    assert float(cost[0, 0, 10, 24] / cost[0, 0, 20, 26]) == pytest.approx(
        (inner[20, 26] ** 0.5 + 4 / 255) / (inner[10, 24] ** 0.5 + 4 / 255), rel=1e-3
    )
    assert torch.equal(smoothness(cover, 0.0), torch.ones_like(cost))


def test_a_change_in_a_smooth_place_costs_a_hider_more(recipe):
    found = {}
    for masking in (0, 1):
        task = make_task(read_recipe(recipe(method="hider:hidden"), [*TINY, f"loss.masking={masking}"]), "cpu")
        half = torch.ones(1, 3, 32, 32)
        half[..., 16:] = torch.randint(0, 2, (1, 1, 32, 16), generator=torch.Generator().manual_seed(0)).float()
        task.pair = lambda rng, cover=half: (torch.zeros_like(cover), cover)
        for side in ("smooth", "textured"):
            where = torch.zeros_like(half)
            where[..., :14] = side == "smooth"
            where[..., 18:] = side == "textured"
            task.method.hide = lambda secret, cover, where=where, **how: cover - 0.1 * where
            task.method.recover = lambda stego, **how: torch.zeros_like(stego)
            found[masking, side] = float(task.loss(0)[0].detach())
    assert found[0, "smooth"] == pytest.approx(found[0, "textured"], rel=0.05)
    assert found[1, "smooth"] > found[1, "textured"] + 0.005


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
    assert all(m.training for m in norms(task.adversary))


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


SERVER = [
    *("data.crop=32", "data.size=32", "data.batch=2", "data.validation=0.4", "settings={width: 2}"),
    *("schedule.warmup=0", "schedule.validate=2", "schedule.steps=2", "loss.response=1"),
]


def test_an_adversary_learns_beside_an_analyzer_which_is_told_by_it(recipe, tmp_path):
    """It and the analyzer move, the hider stays; the analyzer alone is saved."""
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    path, more = recipe("covert", "analyzer:unet"), [*SERVER, "loss.adversarial=0.5"]
    task = make_task(read_recipe(path, more), "cpu")
    assert task.opponents == list(task.adversary.parameters())
    hider = {k: v.clone() for k, v in task.hider.state_dict().items()}
    before = {k: v.clone() for k, v in task.models.state_dict().items()}
    seen = Trainer(task, tmp_path / "one").advance(0)
    moved = {k.partition(".")[0] for k, v in task.models.state_dict().items() if not torch.equal(before[k], v)}
    assert moved == {"analyzer", "adversary"}
    assert all(torch.equal(hider[k], v) for k, v in task.hider.state_dict().items())
    assert seen["adversary"] > 0.5
    run(path, overrides=more, out=tmp_path / "out", quiet=True)
    registry.create("analyzer", "unet", weights=tmp_path / "out/unet-tiny.safetensors")


def test_an_analyzer_wants_its_responses_to_pass_for_photographs(recipe):
    """The term of the adversary is of the response beside its photograph, and weighs what the recipe says."""
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    task = make_task(read_recipe(recipe("covert", "analyzer:unet"), [*SERVER, "loss.adversarial=0.5"]), "cpu")
    shown = []

    class Judge(Discriminator):
        def own_loss(self, stego, cover):
            shown.append((stego.detach(), cover))
            return torch.tensor(3.0)

        def hider_loss(self, stego, cover):
            return torch.tensor(2.0)

    whole = task.loss(0)[0]
    task.adversary = None
    plain = task.loss(0)[0]
    task.adversary = Judge(width=1)
    told, seen = task.loss(0)
    assert float(told.detach()) == pytest.approx(float(plain.detach()) + 1.0, abs=1e-4)
    assert float(whole.detach()) != pytest.approx(float(plain.detach()), abs=1e-4)
    assert seen["adversary"] == 3.0
    ((response, cover),) = shown
    assert float((response - cover).square().mean()) == pytest.approx(10 ** (-seen["response"] / 10), rel=0.01)


def test_a_response_that_changes_smooth_places_costs_an_analyzer_more(recipe):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    path = recipe("covert", "analyzer:unet")
    plain, masked = (
        make_task(read_recipe(path, [*SERVER, "loss.task=0", *more]), "cpu") for more in ([], ["loss.masking=1"])
    )
    cover = torch.full((2, 3, 32, 32), 0.5)
    cover[..., :16] += 0.3 * (torch.rand(2, 3, 32, 16) - 0.5)
    found = {}
    for name, task in (("plain", plain), ("masked", masked)):
        for where, columns in (("smooth", slice(20, 32)), ("textured", slice(0, 12))):
            change = torch.zeros_like(cover)
            change[..., columns] = 0.02
            task.draw_covers = lambda *_: cover
            task.method.analyze = lambda stego, change=change, **_: cover + change
            found[name, where] = float(task.loss(0)[0].detach())
    assert found["plain", "smooth"] == pytest.approx(found["plain", "textured"], rel=1e-3)
    assert found["masked", "smooth"] > 2 * found["masked", "textured"]
