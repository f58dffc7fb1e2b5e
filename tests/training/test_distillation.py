"""Distillation with an analyzer in the loop, and of features: each term asks for what it is there for."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from privmed import registry
from privmed.errors import PrivmedError, SettingsError
from privmed.imaging import quantise
from privmed.training import read_recipe, run
from privmed.training.losses import task_loss
from privmed.training.make import make_task
from privmed.weights import save

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

TINY = ["data.crop=32", "data.size=32", "data.batch=2", "data.validation=0.4", "data.augment=0"]
SHORT = [*TINY, "schedule.steps=2", "schedule.validate=2"]


def shake(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=generator)


@pytest.fixture
def task(recipe, tmp_path):
    """A student of three blocks, its teacher of three or six, and a U-Net of width 2 between them."""

    def make(loss, teacher_blocks=3, extra="analyzer: unet\nanalyzer_weights: {0}/unet.safetensors\n"):
        for name, made in (
            ("teacher", registry.hider("hinet", weights=None, blocks=teacher_blocks)),
            ("unet", registry.analyzer("unet", weights=None, width=2, residual=True)),
        ):
            shake(made, seed=3)
            save(made, tmp_path / f"{name}.safetensors")
        about = f"hider: hinet\nhider_weights: {tmp_path}/teacher.safetensors\nsettings: {{blocks: 3}}\nloss: {loss}\n"
        path = recipe("distillation", "hider:lightih", about + extra.format(tmp_path))
        made = make_task(read_recipe(path, TINY), "cpu")
        for one in (made.method, made.teacher, *([made.server.method] if made.server else [])):
            one.precision = "float32"
        shake(made.method)
        return made

    return make


def as_the_teacher(made):
    for mine, theirs in zip(made.method.blocks, made.teacher.blocks):
        mine.load_state_dict(theirs.state_dict())


ONLY = "{{stego: 0, mia: 0, task: 0, secret: 0, {}: 1}}"


@pytest.mark.parametrize("term", ["stego", "mia"])
def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(task, term):
    made = task(ONLY.format(term))
    assert float(made.loss(0)[0].detach()) > 1e-8
    as_the_teacher(made)
    assert float(made.loss(0)[0].detach()) == pytest.approx(0, abs=1e-9)


def test_answers_to_student_and_hybrids_all_count(task):
    """Where the last two blocks are the teacher's, every hybrid is the student itself: it counts once, and for two hybrids."""
    made = task(ONLY.format("mia"))
    for n in (1, 2):
        made.method.blocks[n].load_state_dict(made.teacher.blocks[n].state_dict())
    images, _ = made.server.batch(0)
    cover = made.draw_covers(2, 32, np.random.default_rng([made.recipe.seed, 0, 1]))
    how = {"clamp": False, "check_values": False}
    with torch.no_grad():
        answers = []
        for hider in (made.method, made.teacher):
            stego = quantise(hider.hide(images, cover, generator=made.latent_draw(0), **how))
            answers.append(made.server.method.analyze(stego, generator=made.latent_draw(0), **how))
        assert float(made.loss(0)[0]) == pytest.approx(3 * float(F.mse_loss(*answers)), rel=1e-3)


def test_the_answer_to_the_student_is_read_by_student_and_hybrid_against_the_masks(task):
    """With a student like its teacher both read the same: the loss is that of what the client sees, and twice that for two hybrids."""
    made = task(ONLY.format("task"))
    as_the_teacher(made)
    images, truth = made.server.batch(0)
    cover = made.draw_covers(2, 32, np.random.default_rng([made.recipe.seed, 0, 1]))
    how = {"clamp": False, "check_values": False}
    with torch.no_grad():
        found = float(made.loss(0)[0])
        stego = quantise(made.method.hide(images, cover, generator=made.latent_draw(0), **how))
        answer = quantise(made.server.method.analyze(stego, generator=made.latent_draw(0), **how))
        read = made.method.recover(answer, generator=made.latent_draw(0), **how)
        logits = made.server.method.decode(read, logits=True, check_values=False)
    assert found == pytest.approx(3 * float(task_loss(logits, truth)), rel=1e-3)


@pytest.mark.parametrize("term", ["mia", "task"])
def test_what_the_analyzer_says_teaches_the_student_alone(task, term):
    made = task(ONLY.format(term), teacher_blocks=6)
    made.loss(0)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.method.blocks[0].parameters())
    assert all(p.grad is None for p in (*made.teacher.parameters(), *made.server.method.parameters()))


def test_features_are_compared_after_each_stage_in_both_directions(task):
    for term in ("stego", "secret"):
        made = task(ONLY.format(term), extra="align: feature\n")
        as_the_teacher(made)
        assert float(made.loss(0)[0].detach()) == pytest.approx(0, abs=1e-9)
        shake(made.method.blocks[1], seed=5)
        last = float(made.loss(0)[0].detach())
        as_the_teacher(made)
        shake(made.method.blocks[0], seed=5)
        first = float(made.loss(0)[0].detach())
        assert min(first, last) > 1e-8


def test_a_hidden_feature_is_the_state_and_not_the_stego_alone(task):
    made = task(ONLY.format("stego"), extra="align: feature\n")
    secret, cover = made.pair(made.draw(0))
    student, teacher = made.method, made.teacher
    mine = theirs = student.encode(secret, cover)
    wanted = 0.0
    with torch.no_grad():
        for stage in range(3):
            mine, theirs = student.run(mine, stage, stage + 1), teacher.run(theirs, stage, stage + 1)
            wanted += sum(float(F.mse_loss(m, t)) for m, t in zip(mine, theirs))
        assert float(made.loss(0)[0]) == pytest.approx(wanted, rel=1e-4)


def test_features_are_compared_without_an_analyzer(task):
    with pytest.raises(SettingsError, match="features are compared without an analyzer"):
        task("{stego: 1}", extra="align: feature\nanalyzer: unet\nanalyzer_weights: {0}/unet.safetensors\n")


def test_a_student_is_judged_by_what_the_analyzer_finds_behind_it(task, tmp_path, recipe):
    task("{stego: 1}")
    out = run(tmp_path / "distillation.yaml", overrides=SHORT, out=tmp_path / "out", quiet=True)
    assert {"stego_db", "recovered_db", "dice", "response_db", "score"} <= set(out)
    assert registry.hider("lightih", weights=tmp_path / "out/lightih-tiny.safetensors").config.blocks == 3


def test_an_analyzer_that_tells_of_nothing_hidden_may_stand_between(task, tmp_path):
    task("{stego: 1}")
    told = registry.analyzer("unet", weights=None, width=2, residual=True, presence=True)
    save(told, tmp_path / "unet.safetensors")
    made = make_task(read_recipe(tmp_path / "distillation.yaml", TINY), "cpu")
    assert torch.isfinite(made.loss(0)[0])


@pytest.mark.parametrize(
    ("analyzer", "words"), [("unet", "analyzer unet has no weights of its own"), ("unett", "unett")]
)
def test_an_analyzer_without_weights_cannot_stand_between(recipe, analyzer, words):
    path = recipe("distillation", "hider:lightih", f"hider: hinet\nhider_weights: general\nanalyzer: {analyzer}\n")
    with pytest.raises(PrivmedError, match=words):
        make_task(read_recipe(path, TINY), "cpu")
