"""What a training asks for: each term of a loss has the effect that it is there for, and nothing else goes down instead."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from privmed import training
from privmed.imaging import quantise
from privmed.imaging.wavelets import haar, inverse_haar
from privmed.training import read_recipe
from privmed.training.hiding import FLOOR, error
from privmed.training.losses import low_frequency
from privmed.training.make import make_task

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

TINY = ["data.crop=32", "data.size=32", "data.batch=2", "data.validation=0.4", "data.augment=0"]


def shake(module, seed=0):
    """Random weights, so that blocks which start as the identity do something."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.05, generator=generator)


def silence(block):
    """The identity: sub-networks that answer nothing."""
    for p in block.parameters():
        torch.nn.init.zeros_(p)


def hider_task(recipe, task="hiding", method="hider:lightih", blocks=2, extra="", *more):
    made = make_task(
        read_recipe(recipe(task, method, f"settings: {{blocks: {blocks}}}\n{extra}"), [*TINY, *more]), "cpu"
    )
    made.method.precision = "float32"
    shake(made.method)
    return made


def distilled(monkeypatch, recipe, teacher_blocks, extra):
    """A distillation from an untrained teacher of so many blocks to a student of three."""
    from privmed import registry

    create = registry.create
    monkeypatch.setattr(
        registry,
        "create",
        lambda kind, name, weights=None, **s: create(kind, name, weights=None, **({"blocks": teacher_blocks} | s)),
    )
    task = hider_task(recipe, "distillation", "hider:lightih", 3, f"hider: hinet\n{extra}")
    task.teacher.precision = "float32"
    return task


@pytest.mark.parametrize("place", [None, 0, 1])
@pytest.mark.parametrize("loss", ["{stego: 1, secret: 0}", "{stego: 0, secret: 1}"])
def test_hybrids_change_over_at_the_same_place_in_student_and_teacher(recipe, monkeypatch, place, loss):
    """A teacher that does just what the student does, block by block or in one block of each two: every hybrid equals both."""
    task = distilled(monkeypatch, recipe, 3 if place is None else 6, f"loss: {loss}\n")
    for n, block in enumerate(task.teacher.blocks):
        silence(block)
        if place is None or n % 2 == place:
            block.load_state_dict(task.method.blocks[n if place is None else n // 2].state_dict())
    steps = {int(change_over(task, step)): step for step in range(8)}
    assert set(steps) == {1, 2}
    for step in steps.values():
        secret, cover = task.pair(task.draw(step))
        with torch.no_grad():
            found = float(task.loss(step)[0])
            own = F.mse_loss(task.method.recover(quantise(task.method.hide(secret, cover)), clamp=False), secret)
        wanted = 0.0 if "secret: 0" in loss else 3 * float(own)
        assert found == pytest.approx(wanted, rel=0.02, abs=1e-9)


def change_over(task, step):
    """Where the hybrid of a step changes over."""
    rng = task.draw(step)
    task.pair(rng)
    return rng.integers(1, task.method.stages)


def test_a_student_unlike_its_teacher_has_something_to_learn(recipe, monkeypatch):
    task = distilled(monkeypatch, recipe, 3, "loss: {stego: 1, secret: 0}\n")
    shake(task.teacher, seed=1)
    assert float(task.loss(0)[0].detach()) > 1e-3


def test_hiding_weighs_the_stego_against_the_recovered_secret(recipe):
    """After 8 bits, as they arrive; each image as it is, or by its logarithm."""
    for scale in ("linear", "log"):
        task = hider_task(recipe, extra=f"loss: {{stego: 2, secret: 3, scale: {scale}}}\n")
        secret, cover = task.pair(task.draw(0))
        with torch.no_grad():
            stego = task.method.hide(secret, cover, clamp=False)
            recovered = task.method.recover(quantise(stego), clamp=False, generator=torch.Generator())
            found = float(task.loss(0)[0])
        errors = [(a - b).square().mean((1, 2, 3)) for a, b in ((stego, cover), (recovered, secret))]
        kept, lost = (e.mean() if scale == "linear" else (1 + e / FLOOR).log().mean() for e in errors)
        assert found == pytest.approx(float(2 * kept + 3 * lost), rel=1e-4)
        assert float(kept) != pytest.approx(float(lost), rel=0.05)


def test_the_logarithm_lets_an_easy_image_count_as_much_as_a_hard_one():
    wanted = torch.zeros(2, 3, 8, 8)
    hard = wanted + torch.tensor([0.5, 0.01]).view(2, 1, 1, 1)
    better = {
        s: [error(hard * torch.tensor(f).view(2, 1, 1, 1), wanted, s) for f in ([0.5, 1], [1, 0.5])]
        for s in ("linear", "log")
    }
    assert better["linear"][0] < 0.3 * better["linear"][1]
    assert better["log"][1] == pytest.approx(float(better["log"][0]), rel=0.05)


def test_low_frequencies_are_those_of_ll():
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    bands = haar(image)
    fine = inverse_haar(bands._replace(hh=bands.hh + 0.3, lh=bands.lh - 0.2, hl=bands.hl + 0.1))
    assert float(low_frequency(fine, image)) < 1e-10
    assert float(low_frequency(inverse_haar(bands._replace(ll=bands.ll + 0.3)), image)) == pytest.approx(0.09, rel=1e-3)


def analysis(recipe, task, loss, *more):
    """An analyzer in training, and what can be seen of it on one fixed batch: cross-entropy of its answer, and the two distances."""
    torch.manual_seed(0)
    method = "analyzer:unet" if task == "bare" else "analyzer:hidemia"
    made = make_task(
        read_recipe(recipe(task, method, f"settings: {{width: 2}}\nloss: {loss}\n"), [*TINY, *more]), "cpu"
    )
    made.models.train()
    images, truth = made.batch(0)

    @torch.no_grad()
    def look():
        if task == "bare":
            return {"task": float(F.binary_cross_entropy_with_logits(made.method.segment(images), truth))}
        cover = made.draw_covers(2, 32, np.random.default_rng([made.recipe.seed, 0, 1]))
        stego = made.hider.hide(images, cover)
        response = made.method.analyze(quantise(stego))
        found = made.method.decode(made.hider.recover(quantise(response), clamp=False))
        return {
            "task": float(F.binary_cross_entropy(found, truth)),
            "response": float(F.mse_loss(response, cover)),
            "stego": float(F.mse_loss(stego, cover)),
        }

    return made, look


def descend(task, rate, steps=6):
    optimizer = torch.optim.Adam([p for p in task.models.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(0)[0].backward()
        optimizer.step()


@pytest.mark.parametrize("task", ["bare", "covert"])
def test_analysis_learns_to_answer(recipe, task):
    made, look = analysis(recipe, task, "{}" if task == "bare" else "{task: 1, response: 0}")
    before = look()["task"]
    descend(made, 2e-2 if task == "bare" else 1e-3)
    assert look()["task"] < 0.9 * before


def test_covert_analysis_learns_to_look_like_the_cover(recipe):
    made, look = analysis(recipe, "covert", "{task: 0, response: 1}")
    before = look()["response"]
    descend(made, 5e-3)
    assert look()["response"] < 0.98 * before


def test_a_joint_training_keeps_the_stego_near_the_cover(recipe):
    made, look = analysis(recipe, "covert", "{task: 0, response: 0, stego: 1}", "joint=true")
    before = look()["stego"]
    descend(made, 1e-4)
    assert look()["stego"] < 0.95 * before


@pytest.mark.parametrize("task", ["hiding", "covert"])
def test_without_rounding_what_lies_beyond_the_range_is_trained_on(recipe, task):
    """A network that leaves the range, or diverges: the loss says so, and the guard decides; no check of an image is in between."""
    if task == "hiding":
        made = hider_task(recipe, "hiding", "hider:lightih", 2, "loss: {rounding: false}\n")
    else:
        made = analysis(recipe, "covert", "{rounding: false}")[0]
    for p in made.method.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(0))
    made.models.train()
    loss = made.loss(0)[0]
    assert torch.isfinite(loss)
    loss.backward()
    for p in made.method.parameters():
        torch.nn.init.constant_(p, float("nan"))
    assert not torch.isfinite(made.loss(1)[0])


def test_trainings_call_the_public_methods():
    """What a training gets is what users get: checks of shape, padding, tiles, the contract."""
    for path in sorted(Path(training.__file__).parent.glob("*.py")):
        assert not re.search(r"\._(hide|recover|analyze|decode)\(", path.read_text(encoding="utf-8")), path.name
