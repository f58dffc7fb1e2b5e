"""Trainings that go wrong: explosions that only the gradient shows, checkpoints of something else, data that is too little."""

import json
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.cli import run as cli
from privmed.errors import InputError, OutputError, SettingsError, TrainingError, WeightsError
from privmed.files import write_tensors
from privmed.jobs.lock import owned
from privmed.training import read_recipe, run
from privmed.training.loop import Trainer
from privmed.training.make import make_task

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
SMALL = [
    "data.crop=32",
    "data.size=32",
    "data.batch=2",
    "schedule.warmup=0",
    "schedule.validate=2",
    "data.validation=0.4",
]
BLOCKS = "settings: {blocks: 1}\n"


@pytest.fixture
def data(tmp_path):
    """Scans in two classes, and photographs."""
    rng = np.random.default_rng(0)
    for folder in ("scans/a", "scans/b", "photos"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(10):
        for folder in ("scans/a" if i % 2 else "scans/b", "photos"):
            Image.fromarray(rng.integers(0, 255, (36, 50, 3), dtype=np.uint8)).save(tmp_path / f"data/{folder}/{i}.png")
    return tmp_path / "data"


def train(path, out, *more, steps=4, **options):
    return run(path, overrides=[*SMALL, f"schedule.steps={steps}", *more], out=out, quiet=True, **options)


def test_a_gradient_that_is_never_finite_ends_in_a_sentence(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(TrainingError, match=r"diverges; 10 times.*Lower optimizer\.rate"):
        train(recipe(extra=BLOCKS), tmp_path / "o", steps=1000)


def test_a_loss_that_always_explodes_ends_in_a_sentence(recipe, tmp_path):
    with pytest.raises(TrainingError, match="diverges"):
        train(recipe(extra=BLOCKS), tmp_path / "o", "loss.stego=1e39", steps=1000)


def test_dropout_does_not_break_a_resume(recipe, tmp_path, monkeypatch):
    """Layers that draw from the global generator draw the same after a resume."""
    path = recipe("classification", "classifier:resnet18")
    honest = Trainer.advance
    drawn = []

    def advance(self, step):
        seen = honest(self, step)
        drawn.append(float(torch.rand(())))
        return seen

    monkeypatch.setattr(Trainer, "advance", advance)
    train(path, tmp_path / "whole", steps=4)
    whole = drawn[:]
    drawn.clear()
    train(path, tmp_path / "parts", steps=2)
    train(path, tmp_path / "parts", steps=4, resume=True)
    assert drawn == whole


def test_a_run_goes_on_with_its_own_recipe_only(recipe, tmp_path):
    out = tmp_path / "o"
    train(recipe(extra=BLOCKS), out, steps=2)
    before = (out / "recipe.yaml").read_text()
    for other in (["settings.blocks=2"], ["seed=9"], ["optimizer.rate=0.5"]):
        with pytest.raises(SettingsError, match=r"was begun with another (settings|seed|optimizer)"):
            train(recipe(extra=BLOCKS), out, *other, resume=True)
    assert (out / "recipe.yaml").read_text() == before
    assert train(recipe(extra=BLOCKS), out, steps=4, resume=True)["steps"] == 4


def test_a_checkpoint_of_an_older_version_is_refused_before_anything_is_written(recipe, tmp_path):
    out = tmp_path / "o"
    train(recipe(extra=BLOCKS), out, steps=2)
    before = (out / "recipe.yaml").read_text()
    write_tensors(out / "checkpoint.pt", {"step": 2, "models": {}, "average": {}, "recipe": {}})
    with pytest.raises(
        WeightsError, match=r"checkpoint\.pt: was made by another version.*Train afresh in another folder"
    ):
        train(recipe(extra=BLOCKS), out, steps=4, resume=True)
    assert (out / "recipe.yaml").read_text() == before


def test_learning_rates_follow_the_schedule_wherever_the_training_jumps(recipe, tmp_path):
    """Warm-up, plateau and cosine, times what the guard leaves of them."""
    more = [
        "schedule.steps=10",
        "schedule.warmup=4",
        "schedule.cooldown=0.5",
        "optimizer.rate=1e-3",
        "optimizer.name=muon",
    ]
    trainer = Trainer(make_task(read_recipe(recipe(extra=BLOCKS), [*SMALL, *more]), "cpu"), tmp_path)
    trainer.guard.rollbacks = 1
    found = []
    for step in (0, 3, 5, 9):
        trainer.learning_rates_from(step)
        found.append(trainer.optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1e-3 / 8, 1e-3 / 2, 1e-3 / 2, 1e-3 / 4 * (1 - np.cos(np.pi / 5))])


def test_what_an_interruption_cut_off_is_dropped_or_told(recipe, tmp_path):
    out = tmp_path / "o"
    train(recipe(extra=BLOCKS), out, steps=2)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    train(recipe(extra=BLOCKS), out, steps=4, resume=True)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [1, 2, 3, 4]
    checkpoint = out / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        train(recipe(extra=BLOCKS), out, steps=6, resume=True)


def test_a_training_that_is_killed_between_validations_loses_no_more_than_two_minutes(recipe, tmp_path, monkeypatch):
    """It goes on from the step that was kept last, ends as if nothing had happened, and a rollback goes where it would have gone."""
    path, more = recipe(extra=BLOCKS), ["schedule.validate=3", "schedule.cooldown=0"]
    train(path, tmp_path / "whole", *more, steps=7)
    monkeypatch.setattr("privmed.training.loop.KEPT_EVERY", 0.0)  # seconds: after every step
    honest = Trainer.advance
    taken, good = [], []

    def advance(self, step):
        if len(taken) == 5:
            taken.append("killed")
            raise KeyboardInterrupt
        taken.append(step)
        good.append(self.good["done"])
        return honest(self, step)

    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        train(path, tmp_path / "parts", *more, steps=7)
    train(path, tmp_path / "parts", *more, steps=7, resume=True)
    assert taken == [0, 1, 2, 3, 4, "killed", 5, 6]
    assert good == [0, 0, 0, 3, 3, 3, 6]
    whole, parts = (next((tmp_path / name).glob("*.safetensors")).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_folder_is_for_one_training_at_a_time(recipe, tmp_path):
    """A second one, begun or resumed meanwhile, would write over what the first keeps."""
    out, path = tmp_path / "o", recipe(extra=BLOCKS)
    train(path, out, steps=2)
    part = out / ".0123456789abcdef.privmed-part"
    part.touch()  # written by the other
    with owned(out), pytest.raises(OutputError, match="another run is writing into it"):
        train(path, out, steps=4, resume=True)
    assert part.exists()
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2
    assert train(path, out, steps=4, resume=True)["steps"] == 4
    assert not part.exists()


def test_too_few_covers_and_windows_that_do_not_fit_are_told_before_the_first_step(recipe, data, tmp_path):
    with pytest.raises(SettingsError, match=r"data\.crop 64 is larger than data\.size 32"):
        train(recipe(extra=BLOCKS), tmp_path / "o", "data.crop=64")
    for path in sorted((data / "photos").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match=r"leaves one side of its covers empty"):
        train(recipe(extra=BLOCKS), tmp_path / "o2")


def test_two_values_for_one_setting_are_one_sentence(recipe, tmp_path, capsys):
    assert (
        cli(["train", str(recipe(extra=BLOCKS)), "-o", str(tmp_path / "o"), "--set", "data=1", "--set", "data.crop=2"])
        == 2
    )
    assert "was given a value of its own" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["4k", "16k", "64k"])
def test_a_full_disk_is_one_sentence(recipe, tmp_path, capsys, size):
    """Whichever file it is that does not fit: the recipe, the metrics or the checkpoint."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        small = [w for text in (*SMALL, "schedule.steps=2") for w in ("--set", text)]
        assert cli(["train", str(recipe(extra=BLOCKS)), "-o", str(disk / "o"), "--json", *small]) == 2
        said = capsys.readouterr()
        assert "No space left" in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert json.loads(said.out)["error"]["type"] == "OutputError"
        assert not [p.name for p in (disk / "o").iterdir() if p.name.startswith(".")]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_training_that_cannot_begin_leaves_no_folder(recipe, tmp_path):
    assert cli(["train", str(recipe(extra=BLOCKS)), "-o", str(tmp_path / "runs/o"), "--set", "data.root=none"]) == 3
    assert not (tmp_path / "runs").exists()
