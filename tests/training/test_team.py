"""Several devices that train as one: parts of a batch, means of gradients, and the same weights as on one device."""

import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from privmed.cli import run as cli
from privmed.errors import InputError, MissingDependencyError, SettingsError, TrainingError
from privmed.training import run
from privmed.training.team import FabricTeam, Team, check, speaks, together
from privmed.weights import load_checkpoint

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

TINY = ["data.crop=32", "data.size=32", "data.batch=4", "data.validation=0.4", "schedule.warmup=0", "schedule.steps=3"]
FABRIC = "needs privmed[fabric]"


class Other:
    """What Fabric does in a team of two whose other process holds these numbers."""

    global_rank, world_size, device = 1, 2, "cpu"

    def __init__(self, *held):
        self.held = torch.tensor(held)

    def all_reduce(self, tensor, reduce_op):
        assert reduce_op == "mean"
        return (tensor + self.held.to(tensor)) / 2


def test_parts_are_the_batch_without_overlap():
    batch = torch.arange(8)
    teams = [FabricTeam(SimpleNamespace(global_rank=rank, world_size=4)) for rank in range(4)]
    assert torch.cat([team.part(batch) for team in teams]).equal(batch)
    assert Team().part(batch) is batch
    assert [team.first for team in teams] == [True, False, False, False]


def test_gradients_become_their_mean_and_one_that_nobody_has_stays_away():
    both, mine, theirs, nobody = (torch.nn.Parameter(torch.zeros(1, 1, 1, 1)) for _ in range(4))
    fixed = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    both.grad, mine.grad = torch.full_like(both, 2.0), torch.full_like(mine, 6.0)
    team = FabricTeam(Other(4.0, 0.0, 10.0, 0.0, 1.0, 0.0, 1.0, 0.0))  # their gradients, and which they have
    team.share_gradients([both, mine, theirs, fixed, nobody])
    assert [p.grad.item() for p in (both, mine, theirs)] == [3.0, 3.0, 5.0]
    assert nobody.grad is None
    assert fixed.grad is None


def test_statistics_become_their_mean_and_counts_stay():
    mean, count = torch.tensor([1.0, 3.0]), torch.tensor(7)
    FabricTeam(Other(3.0, 5.0)).share([mean, count])
    assert mean.tolist() == [2.0, 4.0]
    assert count == 7
    assert FabricTeam(Other(2.0)).mean(4.0) == 3.0


@pytest.mark.parametrize(("devices", "nodes", "told"), [(3, 1, "equal parts"), (2, 4, "equal parts"), (0, 1, "from 1")])
def test_what_a_team_cannot_do_is_said_first(devices, nodes, told):
    with pytest.raises(SettingsError, match=told):
        check(4, devices, nodes)


def test_devices_that_are_not_there_and_a_library_that_is_not_installed(monkeypatch):
    pytest.importorskip("lightning_fabric", reason=FABRIC)
    with pytest.raises(SettingsError, match="all cpu or all cuda"):
        together(print, device="meta", devices=2)
    with pytest.raises(SettingsError, match="are there"):
        together(print, device="cuda", devices=torch.cuda.device_count() + 1)
    with pytest.raises(SettingsError, match="torchrun"):
        together(print, device="cpu", devices=2, nodes=2)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(MissingDependencyError, match=r"privmed\[fabric\]"):
        together(print, device="cpu", devices=2)


def test_of_a_team_that_others_started_one_process_speaks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert speaks(2, 1)  # nobody started a team
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not speaks(2, 1)
    with pytest.raises(SettingsError, match="2 processes were started"):
        check(4, 1, 1)  # all of them would train into one folder
    monkeypatch.setenv("RANK", "0")
    assert speaks(2, 1)
    check(4, 2, 1)
    with pytest.raises(SettingsError, match=r"2 processes were started, but 2 devices on each of 2 nodes are 4\."):
        check(4, 2, 2)


def test_tasks_of_slurm_may_be_trainings_of_their_own(monkeypatch):
    for name, value in (
        ("SLURM_JOB_ID", "7"),
        ("SLURM_NTASKS", "4"),
        ("SLURM_STEP_NUM_TASKS", "4"),
        ("SLURM_PROCID", "2"),
    ):
        monkeypatch.setenv(name, value)
    check(4, 1, 1)
    assert speaks(1, 1)
    assert not speaks(4, 1)


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "validation_score" not in line}


def same_weights(a, b):
    """Whether two trainings took the same steps; Adam makes much of gradients that are nothing but rounding."""
    a, b = (load_checkpoint(folder / "checkpoint.pt")["state"]["parts"]["models"] for folder in (a, b))
    assert a.keys() == b.keys()
    far = [(a[k].float() - b[k].float()).abs().mean() / a[k].float().abs().mean().clamp(min=1e-6) for k in a]
    assert max(far) < 2e-3


def test_two_processes_train_as_one_and_go_on_as_one(recipe, tmp_path, monkeypatch):
    pytest.importorskip("lightning_fabric", reason=FABRIC)
    path = recipe(extra="settings: {blocks: 1}\noptimizer: {name: adam, rate: 1e-4}\n")
    run(path, overrides=TINY, out=tmp_path / "one", device="cpu", quiet=True)
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # of a job in which srun has started nothing
    monkeypatch.setenv("SLURM_NTASKS", "1")
    team = {"device": "cpu", "devices": 2, "quiet": True}
    out = run(path, overrides=[*TINY, "schedule.steps=2"], out=tmp_path / "two", **team)
    assert out["steps"] == 2
    run(path, overrides=TINY, out=tmp_path / "two", resume=True, device="cpu", quiet=True)  # the last step alone
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.keys() == two.keys() == {1, 2, 3}
    assert two == pytest.approx(one, rel=1e-4)
    same_weights(tmp_path / "one", tmp_path / "two")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "method", "extra"),
    [
        ("covert", "analyzer:unet", "hider: lightih\nsettings: {width: 8}\n"),
        ("bare", "analyzer:unet", "settings: {width: 8}\n"),
        ("hiding", "hider:hidden", "settings: {width: 8, before: 1, after: 1, decoder: 1}\n"),
    ],
)
def test_other_tasks_train_in_teams(recipe, tmp_path, task, method, extra):
    """Batch normalisation sees its own part only, so the losses are near, not equal."""
    pytest.importorskip("lightning_fabric", reason=FABRIC)
    more = [*TINY, *(["loss.adversarial=0.01"] if method == "hider:hidden" else [])]
    for devices in (1, 2):
        run(
            recipe(task, method, extra),
            overrides=more,
            out=tmp_path / str(devices),
            device="cpu",
            devices=devices,
            quiet=True,
        )
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert one.keys() == two.keys()
    assert two == pytest.approx(one, rel=0.25)


def fail(team, device):
    if team.first:
        raise InputError("scan.png: is no image.")
    team.mean(1.0)


def die(team, device):
    if not team.first:
        os.kill(os.getpid(), signal.SIGKILL)
    team.mean(1.0)


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_is_one_sentence(recipe, tmp_path, capsys):
    pytest.importorskip("lightning_fabric", reason=FABRIC)
    with pytest.raises(InputError, match=r"^scan\.png: is no image\.$"):
        together(fail, device="cpu", devices=2)
    with pytest.raises(TrainingError, match="killed"):
        together(die, device="cpu", devices=2)
    (tmp_path / "data/scans/images/0.png").write_bytes(b"no picture")
    assert cli(["train", str(recipe()), "-o", str(tmp_path / "o"), "--devices", "2", "--device", "cpu", "-q"]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_batch_that_cannot_be_shared_out_starts_nothing(recipe, tmp_path, capsys):
    assert cli(["train", str(recipe()), "-o", str(tmp_path / "o"), "--set", "data.batch=3", "--devices", "2"]) == 2
    assert "equal parts" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
