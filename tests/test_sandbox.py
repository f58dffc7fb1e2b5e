"""Models that are programs: refused unless trusted, and even then shut in a process that sees tensors and nothing else."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from privmed import sandbox
from privmed.cli import run
from privmed.errors import InputError, SettingsError, WeightsError
from privmed.oracles import ModelSpec, Oracle, load_oracle
from privmed.sandbox import landlock

PLAIN = {"classes": ["a", "b"], "size": 32, "mean": [0.5] * 3, "deviation": [0.25] * 3, "answers": "logits"}
SAMPLES = "data/sample_inputs/model.pt"  # what torch.export.load unpickles


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 2, 5, stride=4)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class Thief(torch.nn.Module):
    """Saves what it is shown."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x.mean((2, 3))[:, :2]


class Run:
    """What a pickle runs when it is loaded."""

    def __init__(self, code: str):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


def exported(path, code: str = ""):
    """A ``torch.export`` file; with code that runs when it is loaded."""
    whole = io.BytesIO()
    dims = {0: torch.export.Dim("n", min=1, max=512)}
    torch.export.save(torch.export.export(Small().eval(), (torch.rand(2, 3, 32, 32),), dynamic_shapes=(dims,)), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(declare(path), "w") as target:
        assert sum(name.endswith(SAMPLES) for name in source.namelist()) == 1
        for name in source.namelist():
            evil = code and name.endswith(SAMPLES)
            target.writestr(name, pickle.dumps(Run(code)) if evil else source.read(name))
    return path


def scripted(path, module):
    torch.jit.save(torch.jit.script(module), declare(path))
    return path


def declare(path):
    path.with_suffix(".json").write_text(json.dumps(PLAIN))
    return path


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def test_programs_are_refused_unless_trusted(tmp_path, marker):
    files = (
        exported(tmp_path / "a.pt2", f"open({str(marker)!r}, 'w').write('here')"),
        scripted(tmp_path / "b.pt", Thief(str(marker))),
    )
    for path in files:
        with pytest.raises(SettingsError, match=r"is a program.*only with --trust-model.*ONNX.*need no trust"):
            load_oracle(path)
    assert not marker.exists()


@pytest.mark.parametrize("command", ["watermark", "bench"])
def test_commands_run_no_code_of_a_model_file(command, tmp_path, marker, phantoms, capsys):
    pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
    path = exported(tmp_path / "a.pt2", f"open({str(marker)!r}, 'w').write('here')")
    data = phantoms(tmp_path / "set")
    out = ["-o", str(tmp_path / "out"), "--model", str(path)]
    if command == "watermark":
        code = run(["watermark", str(data), "--key", str(tmp_path / "k"), *out])
    else:
        code = run(["bench", "watermark", "--data", str(data), *out])
    assert code == 2
    assert "--trust-model" in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_trusted_models_answer_as_they_do_in_process(tmp_path):
    images = torch.rand(3, 3, 48, 40)
    want = Oracle(Small().eval(), ModelSpec(**PLAIN))(images)
    processes = []
    for path in (scripted(tmp_path / "a.pt", Small().eval()), exported(tmp_path / "b.pt2")):
        oracle = load_oracle(path, trust=True)
        assert torch.allclose(oracle(images), want, atol=1e-5)
        assert torch.equal(oracle(images), oracle(images))
        processes.append(oracle.network.process)
    assert processes[0].poll() is not None  # it went with its oracle
    processes[1].kill()
    with pytest.raises(InputError, match=r"model b: fails on a batch .*its process ended \(killed by SIGKILL\)\)\.$"):
        oracle(images)


def test_a_trusted_model_writes_nothing_and_sees_no_environment(tmp_path, marker, monkeypatch):
    """Its code reports all it sees through its error, the one thing that it can say besides numbers."""
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.png").write_bytes(b"secret pixels")
    code = (
        "import os, sys\n"
        f"try: open({str(marker)!r}, 'w').write('here'); wrote = 'wrote'\n"
        "except OSError: wrote = 'cannot write'\n"
        "try: wrote += open(f'/proc/{os.getppid()}/cmdline').read()\n"
        "except OSError: wrote += ' nor look at its parent'\n"
        "raise ValueError(' '.join([wrote, os.getcwd(), str(os.listdir()), *sys.argv, *os.environ, *os.environ.values()]))"
    )
    with pytest.raises(WeightsError, match=r"cannot be loaded as a file of torch\.export \(cannot write") as told:
        load_oracle(exported(tmp_path / "a.pt2", code), trust=True)
    said = str(told.value).partition("(")[2]
    assert "correct horse" not in said
    assert "PRIVMED" not in said
    assert str(tmp_path) not in said
    if landlock.version():
        assert "nor look at its parent" in said
    assert not marker.exists() or not marker.read_bytes()
    thief = load_oracle(scripted(tmp_path / "b.pt", Thief(str(marker))), trust=True)
    try:
        thief(torch.rand(1, 3, 32, 32))
    except InputError as error:
        assert "fails on a batch" in str(error)
    assert not marker.exists() or not marker.read_bytes()


@pytest.mark.skipif(not landlock.version(), reason="this system has no Landlock")
def test_landlock_keeps_the_users_files_unread(tmp_path):
    (tmp_path / "scan.png").write_bytes(b"secret pixels")
    (tmp_path / "scratch").mkdir()
    code = (
        f"import sys; sys.path.append({str(Path(sandbox.__file__).parent)!r}); import landlock\n"
        f"assert landlock.restrict([], {str(tmp_path / 'scratch')!r})\n"
        f"open({str(tmp_path / 'scratch/x')!r}, 'w').write('allowed')\n"
        f"for way in ('r', 'w'):\n"
        f"    try: open({str(tmp_path / 'scan.png')!r}, way); sys.exit(4)\n"
        "    except PermissionError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/")
    assert done.returncode == 0
    assert (tmp_path / "scan.png").read_bytes() == b"secret pixels"


def test_packages_that_are_links_are_read_where_they_lie(tmp_path):
    from privmed.sandbox.child import linked

    for folder in ("store/torch", "packages/numpy-2.dist-info", "clone"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("packages", "clone"):
        (tmp_path / place / "torch").symlink_to(tmp_path / "store/torch")
    folders = [str(tmp_path / name) for name in ("packages", "clone", "none")]
    assert linked(folders) == [str((tmp_path / "store/torch").resolve())]


def test_a_model_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVMED_MAX_MODEL_SECONDS", "1")
    path = exported(tmp_path / "a.pt2", "import time; time.sleep(600)")
    with pytest.raises(WeightsError, match="took more than 1 seconds and was ended; PRIVMED_MAX_MODEL_SECONDS"):
        load_oracle(path, trust=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_process_dies_with_its_parent():
    """Also when nothing closes its input: it waits for its model here, whose pipe we hold open."""
    asked, ours = os.pipe()
    script = str(Path(sandbox.__file__).with_name("child.py"))
    child = f"subprocess.Popen([sys.executable, '-I', {script!r}], stdin={asked}, stdout=subprocess.PIPE)"
    code = f"import subprocess, sys, time; print({child}.pid, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, pass_fds=[asked]) as parent:
        pid = int(parent.stdout.readline())
        about = json.dumps({"kind": ".pt", "device": "cpu", "packages": [], "parent": parent.pid}).encode()
        os.write(ours, struct.pack("<Q", len(about)) + about)
        time.sleep(1)
        alive = not gone(pid)
        parent.kill()
    for _ in range(300):
        if gone(pid):
            break
        time.sleep(0.1)
    assert alive
    assert gone(pid), "the model's process outlived its parent"
    os.close(asked)
    os.close(ours)


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be noticed."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_answer_of_a_model_is_not_believed():
    """Numbers without end, and an error with control characters."""
    from privmed.sandbox import ModelProcessError, _answer

    with pytest.raises(ValueError, match="answers with shape"):
        _answer(io.BytesIO(b"\0\1" + (2**62).to_bytes(8, "little")))
    with pytest.raises(EOFError):
        _answer(io.BytesIO(b"\0\1" + (2).to_bytes(8, "little") + b"abc"))
    with pytest.raises(ModelProcessError, match=r"^bad \[31m$"):
        _answer(io.BytesIO(b"\1" + (8).to_bytes(4, "little") + b"bad\x1b[31m"))
