"""Training: recipes told whole, batches from (seed, step), the guard, and a resume that changes nothing."""

import json

import numpy as np
import pytest
import torch
from attrs import evolve
from PIL import Image

from privmed import registry
from privmed.errors import InputError, OutputError, SettingsError, WeightsError
from privmed.training import read_recipe, run
from privmed.training.guard import Guard
from privmed.training.hiding import transmit, worst_window
from privmed.training.loop import Trainer
from privmed.training.losses import dice_ce
from privmed.training.make import make_task, named
from privmed.training.optim import Muon, orthogonalise
from privmed.training.recipe import LossRecipe

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

TINY = [
    "data.crop=32",
    "data.size=32",
    "data.batch=2",
    "schedule.warmup=0",
    "schedule.validate=2",
    "schedule.steps=4",
    "data.validation=0.4",
]


def hiding(recipe):
    return recipe(extra="settings: {blocks: 1}\noptimizer: {name: muon, rate: 1e-3}\n")


def test_weights_come_out_and_can_be_used(recipe, tmp_path):
    out = run(hiding(recipe), overrides=TINY, out=tmp_path / "out", quiet=True)
    assert out["steps"] == 4
    hider = registry.create("hider", "lightih", weights=tmp_path / "out/lightih-tiny.safetensors")
    assert hider.config.blocks == 1
    assert hider.card["recipe"]["name"] == "tiny"
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4]
    assert "validation_stego_db" in lines[2]


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_resumed_run_equals_an_uninterrupted_one(recipe, tmp_path, optimizer):
    path = hiding(recipe)
    more = [*TINY, f"optimizer.name={optimizer}", "schedule.cooldown=0"]
    run(path, overrides=more, out=tmp_path / "whole", quiet=True)
    run(path, overrides=[*more, "schedule.steps=2"], out=tmp_path / "parts", quiet=True)
    run(path, overrides=more, out=tmp_path / "parts", resume=True, quiet=True)
    whole, parts = ((tmp_path / d / "lightih-tiny.safetensors").read_bytes() for d in ("whole", "parts"))
    assert whole == parts


def test_the_same_seed_gives_the_same_weights_and_another_does_not(recipe, tmp_path):
    path = hiding(recipe)
    made = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(path, overrides=[*TINY, "schedule.steps=2"], out=tmp_path / name, seed=seed, quiet=True)
        made[name] = (tmp_path / name / "lightih-tiny.safetensors").read_bytes()
    assert made["a"] == made["b"] != made["c"]


def test_a_larger_network_starts_where_the_smaller_one_ended(recipe, tmp_path):
    """Untrained invertible blocks are the identity, so HiNet grown from LightIH hides exactly like it."""
    run(recipe(extra="optimizer: {name: muon}\n"), overrides=TINY, out=tmp_path / "small", quiet=True)
    small = registry.create("hider", "lightih", weights=tmp_path / "small/lightih-tiny.safetensors")
    grown = recipe(
        method="hider:hinet",
        extra=f"start: {tmp_path}/small/lightih-tiny.safetensors\nstart_method: hider:lightih\nsettings: {{blocks: 6}}\n",
    )
    run(grown, overrides=[*TINY, "optimizer.rate=1e-30", "schedule.steps=2"], out=tmp_path / "large", quiet=True)
    large = registry.create("hider", "hinet", weights=tmp_path / "large/hinet-tiny.safetensors")
    secret, cover = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(large.hide(secret, cover), small.hide(secret, cover), atol=2e-3, rtol=0)
    with pytest.raises(WeightsError, match="does not fit into"):
        run(
            recipe(
                method="hider:hinet",
                extra=f"start: {tmp_path}/small/lightih-tiny.safetensors\nstart_method: hider:lightih\nsettings: {{blocks: 2}}\n",
            ),
            overrides=TINY,
            out=tmp_path / "no",
            quiet=True,
        )


def judged_again(figures, path, folder):
    """The figures of a training are those of the weights that it left."""
    task = make_task(read_recipe(path, TINY), "cpu")
    for method in {task.method, getattr(task, "hider", task.method)}:
        weights = folder / f"{method.name}-tiny.safetensors"
        if weights.exists():
            method.load_state_dict(registry.create(method.kind, method.name, weights=weights).state_dict())
        method.eval()
    with torch.no_grad():
        again = task.validate()
    assert {k: figures[k] for k in again} == pytest.approx(again, rel=1e-3)


def test_bare_and_covert_analysis_train(recipe, tmp_path):
    run(recipe(extra="settings: {blocks: 1}\n"), overrides=TINY, out=tmp_path / "h", quiet=True)
    bare = run(
        recipe("bare", "analyzer:unet", "settings: {width: 2}\n"),
        overrides=TINY,
        out=tmp_path / "s",
        quiet=True,
    )
    judged_again(bare, recipe("bare", "analyzer:unet", "settings: {width: 2}\n"), tmp_path / "s")
    extra = f"settings: {{width: 2, residual_bands: [ll, lh, hl, hh]}}\nhider_weights: {tmp_path}/h/lightih-tiny.safetensors\njoint: true\n"
    covert = run(recipe("covert", "analyzer:hidemia", extra), overrides=TINY, out=tmp_path / "c", quiet=True)
    judged_again(covert, recipe("covert", "analyzer:hidemia", extra), tmp_path / "c")
    card = registry.create("analyzer", "hidemia", weights=tmp_path / "c/hidemia-tiny.safetensors").card
    tuned = registry.create("hider", "lightih", weights=tmp_path / "c/lightih-tiny.safetensors").card
    assert card["hider"] == {"name": "lightih", "weights": "tiny", "sha256": tuned["sha256"]}
    assert {name: len(entry["mean"]) for name, entry in card["domain"].items()} == {
        "secret": 10,
        "answer": 10,
        "nothing": 10,
    }
    assert not tuned["domain"]
    alone = registry.create("analyzer", "unet", weights=tmp_path / "s/unet-tiny.safetensors").card
    assert alone["domain"] == {"secret": card["domain"]["secret"]}  # the same images


def test_classification_trains_bare_and_covert(tmp_path, data):
    for i in range(30):
        folder = data / "classes" / ("dark" if i % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), 60 if i % 2 else 190).save(folder / f"{i}.png")
    sets = f"data: {{root: {data}, covers: photos, secrets: [{{folder: classes}}]}}\n"
    source = f"name: tiny\nmethod: analyzer:unet\nsettings: {{width: 2, classes: 2}}\n{sets}"
    (tmp_path / "bare.yaml").write_text("task: bare\n" + source)
    longer = [*TINY, "schedule.steps=40", "schedule.validate=40", "optimizer.rate=3e-3", "optimizer.average=0"]
    assert run(tmp_path / "bare.yaml", overrides=longer, out=tmp_path / "b", quiet=True)["accuracy"] == 1
    (tmp_path / "hider.yaml").write_text(
        source.replace("analyzer:unet", "hider:lightih").replace("width: 2, classes: 2", "blocks: 1") + "task: hiding\n"
    )
    run(tmp_path / "hider.yaml", overrides=TINY, out=tmp_path / "h", quiet=True)
    (tmp_path / "covert.yaml").write_text(
        "task: covert\n" + source + f"hider_weights: {tmp_path}/h/lightih-tiny.safetensors\n"
    )
    covert = run(tmp_path / "covert.yaml", overrides=TINY, out=tmp_path / "c", quiet=True)
    judged_again(covert, tmp_path / "covert.yaml", tmp_path / "c")
    with pytest.raises(InputError, match="has classes dark, light, but the method expects 3"):
        run(tmp_path / "bare.yaml", overrides=[*TINY, "settings.classes=3"], out=tmp_path / "n", quiet=True)


def test_distillation_needs_stages_that_can_be_shared_out(recipe, tmp_path):
    run(recipe(method="hider:hinet", extra="settings: {blocks: 4}\n"), overrides=TINY, out=tmp_path / "t", quiet=True)
    teacher = f"hider: hinet\nhider_weights: {tmp_path}/t/hinet-tiny.safetensors\n"
    student = recipe("distillation", "hider:lightih", teacher + "settings: {blocks: 2}\noptimizer: {name: muon}\n")
    out = run(student, overrides=TINY, out=tmp_path / "s", quiet=True)
    assert out["steps"] == 4
    odd = recipe("distillation", "hider:lightih", teacher + "settings: {blocks: 3}\n")
    with pytest.raises(SettingsError, match="cannot be shared out"):
        run(odd, overrides=TINY, out=tmp_path / "o", quiet=True)


def test_every_mistake_of_a_recipe_is_told(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\ntask: hidding\nmethod: hider:lightih\ndata: {crop: 8, bach: 2}\nloss: {stego: -1}\n")
    with pytest.raises(SettingsError) as caught:
        read_recipe(path)
    for words in (
        "Did you mean 'hiding'",
        "crop must be at least 32",
        "Did you mean 'batch'",
        "stego must be at least 0",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [(None, InputError, "cannot be read"), ("a: [", InputError, "is not YAML"), ("- 1", SettingsError, "by name")],
)
def test_bad_recipe_files_are_told(tmp_path, text, error, words):
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=words):
        read_recipe(path)


def test_nothing_is_overwritten_and_nothing_resumed_from_nothing(recipe, tmp_path):
    path = hiding(recipe)
    run(path, overrides=TINY, out=tmp_path / "out", quiet=True)
    with pytest.raises(OutputError, match="holds a training already"):
        run(path, overrides=TINY, out=tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="nothing to resume"):
        run(path, overrides=TINY, out=tmp_path / "other", resume=True, quiet=True)
    with pytest.raises(SettingsError, match="trains a method of kind analyzer"):
        run(recipe("covert"), overrides=TINY, out=tmp_path / "wrong", quiet=True)


def test_data_root_must_exist(recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("PRIVMED_DATA", raising=False)
    with pytest.raises(InputError, match="variable is not set"):
        run(hiding(recipe), overrides=[*TINY, "data.root=$PRIVMED_DATA"], out=tmp_path / "o", quiet=True)
    with pytest.raises(InputError, match="no such folder"):
        run(hiding(recipe), overrides=[*TINY, "data.covers=nowhere"], out=tmp_path / "o2", quiet=True)


def test_guard_tells_explosions_from_noise():
    guard = Guard(factor=4, patience=2)

    def step(loss):
        assert guard.judge(loss) == "step"
        guard.went_well(loss)

    for _ in range(10):
        step(1.0)
    step(3.9)
    assert guard.judge(50.0) == "skip"
    step(1.0)
    assert guard.judge(float("nan")) == "skip"
    assert guard.judge(float("inf")) == "rollback"
    assert guard.learning_rate_factor == 0.5
    twin = Guard(4, 2)
    twin.load_state_dict(guard.state_dict())
    assert twin.state_dict() == guard.state_dict()


def test_an_explosion_rolls_back_to_the_checkpoint_at_half_the_rate(recipe, tmp_path, monkeypatch):
    from privmed.training.hiding import Hiding

    honest, calls = Hiding.loss, []

    def exploding(self, step):
        loss, seen = honest(self, step)
        calls.append(step)
        return (loss * 1e9 if len(calls) in (12, 13) else loss), seen

    monkeypatch.setattr(Hiding, "loss", exploding)
    out = run(
        hiding(recipe),
        overrides=[*TINY, "schedule.steps=14", "schedule.validate=10", "guard.factor=100"],
        out=tmp_path / "o",
        quiet=True,
    )
    lines = [json.loads(line) for line in (tmp_path / "o/metrics.jsonl").read_text().splitlines()]
    assert [line["guard"] for line in lines if "guard" in line] == ["skip", "rollback"]
    assert calls[12:14] == [12, 10]
    assert out["steps"] == 14


def test_muon_orthogonalises():
    x = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    for matrices in (x, x.mT):
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_muon_descends():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 3)
    target, x = torch.randn(8, 4, 6, 6), torch.randn(8, 3, 8, 8)
    optimizer = Muon(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = (layer(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]


def test_dice_ce_by_hand():
    """Two pixels, p = (0.5, 0.5), y = (1, 0): Dice loss 1 - 1/2, cross-entropy ln 2."""
    value = dice_ce(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]), smooth=0)
    assert float(value) == pytest.approx(0.5 + np.log(2), abs=1e-6)


def test_where_the_file_clips_no_gradient_passes_and_the_worst_window_counts():
    wanted = torch.zeros(2, 3, 32, 32)
    found = wanted.clone()
    found[1, :, 8:16, 16:24] = 0.5
    assert worst_window(found, wanted).tolist() == pytest.approx([0, 0.25])
    stego = torch.tensor([-0.2, 0.3, 1.4], requires_grad=True)
    for clipping, gradient in ((True, [0.0, 1.0, 0.0]), (False, [1.0, 1.0, 1.0])):
        sent = transmit(stego, LossRecipe(clipping=clipping))
        assert sent.tolist() == pytest.approx([0, 76 / 255, 1])
        (got,) = torch.autograd.grad(sent.sum(), stego)
        assert got.tolist() == gradient


def test_covers_come_from_every_set_by_share(recipe, data):
    covers = "data.covers=[{folder: photos, share: 3}, {folder: scans, share: 1}]"
    task = make_task(read_recipe(recipe(), ["data.crop=32", "data.size=40", "data.validation=0.4", covers]), "cpu")
    rng, seen = np.random.default_rng(0), []
    task.photographs.random_crop = lambda path, side, rng: seen.append(path.parts) or torch.zeros(3, side, side).byte()
    task.draw_covers(400, 32, rng)
    share = sum("photos" in parts for parts in seen) / len(seen)
    assert 0.68 < share < 0.82
    with pytest.raises(SettingsError, match="names no data set"):
        read_recipe(recipe(), ["data.covers=[]"])


@pytest.mark.parametrize(
    ("first", "then", "scores", "steps"),
    [
        ("best", "best", [1.0, 3.0, 2.0], 4),
        ("last", "last", [1.0, 3.0, 2.0], 6),
        ("last", "best", [3.0, 1.0, 2.0], 6),  # what lies there is the second
        ("best", "last", [1.0, 3.0, 2.0], 6),
        ("best", "best", [float("nan"), 1.0, 2.0], 6),
    ],
)
def test_the_best_weights_are_kept_where_the_recipe_says_so(recipe, tmp_path, monkeypatch, first, then, scores, steps):
    """Also over a resume; what is returned is the validation of the weights that lie there."""
    left = list(scores)
    monkeypatch.setattr("privmed.training.loop.Trainer.validate", lambda self: {"score": left.pop(0)})
    path, weights = hiding(recipe), tmp_path / "run/lightih-tiny.safetensors"
    often, bytes_at = [*TINY, "schedule.validate=2"], {}
    run(path, overrides=[*often, f"schedule.keep={first}", "schedule.steps=4"], out=tmp_path / "run", quiet=True)
    bytes_at[4] = weights.read_bytes()
    last = [*often, f"schedule.keep={then}", "schedule.steps=6"]
    found = run(path, overrides=last, out=tmp_path / "run", resume=True, quiet=True)
    card = json.loads((tmp_path / "run/lightih-tiny.json").read_text())
    score = dict(zip((2, 4, 6), scores))[steps]
    assert (card["trained"]["steps"], card["validation"]["score"], found["score"]) == (steps, score, score)
    assert (weights.read_bytes() == bytes_at[4]) == (steps == 4)
    assert json.loads((tmp_path / "run/validation.json").read_text()) == {"step": 6, "score": scores[-1]}


def test_what_is_best_is_remembered_when_a_training_goes_back(recipe, tmp_path, monkeypatch):
    """A state from before the best validation must not let a worse one overwrite its weights."""
    monkeypatch.setattr("privmed.training.loop.Trainer.validate", lambda self: {"score": scores.pop(0)})
    path, scores = hiding(recipe), [1.0, 3.0, 2.0]
    trainer = Trainer(make_task(read_recipe(path, [*TINY, "schedule.keep=best"]), "cpu"), tmp_path)
    trainer.loop.done = 1
    trainer.checkpoint()
    before = trainer.good
    trainer.loop.done = 2
    trainer.checkpoint()
    trainer.good = before
    trainer.go_back()
    trainer.checkpoint()
    assert json.loads((tmp_path / "lightih-tiny.json").read_text())["trained"]["steps"] == 2


def test_a_recipe_without_weights_of_its_hider_names_those_that_it_has_today(recipe):
    """The name goes into the card; a hider without weights is refused, not taken with random ones."""
    path = recipe("covert", "analyzer:unet", "settings: {width: 2}\n")
    assert make_task(read_recipe(path, TINY), "cpu").recipe.hider_weights == "broad"
    with pytest.raises(SettingsError, match="hider_weights"):
        named(evolve(read_recipe(path, TINY), hider="lsbm"))
