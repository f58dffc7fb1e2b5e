"""What happens to outputs when a run is killed, interrupted or repeated; and names that are no text."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from privmed.cli import run

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]
TAP = ["--protector", "tap", "--set", "width=2", "--set", "size=32", "--set", "epochs=1", "--set", "steps=2", "-q"]
KILLED = """
import os, signal, sys
from pathlib import Path
from privmed.cli import run

folder, whole, outs = map(Path, sys.argv[1:4])
replace, seen = os.replace, []


def watch(stop, after=False):
    def replacing(*args):
        seen.append(1)
        if len(seen) == stop:
            if after:
                replace(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args)

    seen.clear()
    os.replace = replacing


def protect(out):
    return run(["protect", str(folder), "-o", str(out), *sys.argv[4:]])


watch(0)
assert protect(whole) == 0
for n in range(2 * len(seen)):
    if os.fork() == 0:
        watch(n // 2 + 1, after=n % 2)
        protect(outs / f"{n:02}")
        os._exit(0)
    assert os.wait()[1] == signal.SIGKILL
"""


@pytest.fixture
def folder(phantoms, tmp_path):
    return phantoms(tmp_path / "set", split="train train test test")


def protect(source: Path, out: Path, *more: str) -> int:
    return run(["protect", str(source), "-o", str(out), *more])


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_run_killed_at_any_moment_leaves_nothing_when_it_was_resumed(folder, tmp_path):
    """SIGKILL just before and just after each file gets its name: drafts, images, masks, the table and the manifest."""
    part, outs = [*NOISE, "--split", "test"], tmp_path / "outs"
    outs.mkdir()
    command = [sys.executable, "-c", KILLED, folder, tmp_path / "whole", outs, *part]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    whole, names = tree(tmp_path / "whole"), {p.name.strip(".")[:2] for p in outs.iterdir()}
    assert len(names) == 16
    for out in (outs / name for name in names):
        published = tree(out) if out.is_dir() else {}
        known = {json.loads(x)["file"] for x in published.pop("manifest.jsonl", b"").decode().splitlines()}
        assert {name for name in published if name.startswith("images/")} <= known
        assert all(content == whole[name] for name, content in published.items())
        assert protect(folder, out, *part, "--resume") == 0
        assert tree(out) == whole
    assert {p.name for p in outs.iterdir()} == names


def test_state_of_a_fit_is_never_published(folder, tmp_path, capsys):
    (folder / "images/p1.png").write_bytes(b"no picture")
    assert protect(folder, tmp_path / "out", *TAP[:-1]) == 1
    assert "Delete it if nothing is to be mended" in " ".join(capsys.readouterr().out.split())
    assert not [name for name in tree(tmp_path / "out") if "fit" in name or "/." in f"/{name}"]
    (tmp_path / "out").rename(tmp_path / "published")
    assert protect(folder, tmp_path / "out", *TAP) == 2
    assert "left its state in" in capsys.readouterr().err
    assert protect(folder, tmp_path / "out", *TAP, "--resume") == 1


def test_a_saved_protector_is_not_overwritten_by_accident(folder, tmp_path, capsys):
    saved = tmp_path / "fitted.safetensors"
    saved.with_suffix(".json").write_text("somebody's")
    assert protect(folder, tmp_path / "out", *TAP, "--save", str(saved)) == 2
    assert "fitted.json: exists already" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    saved.with_suffix(".json").unlink()
    assert protect(folder, tmp_path / "out", *TAP, "--save", str(saved)) == 0
    before = saved.read_bytes()
    other = [*TAP, "--set", "seed=1", "--save", str(saved)]
    assert protect(folder, tmp_path / "other", *other) == 2
    assert saved.read_bytes() == before
    assert protect(folder, tmp_path / "out", *TAP, "--save", str(saved), "--resume") == 0  # its own
    assert protect(folder, tmp_path / "other", *other, "--force") == 0
    assert saved.read_bytes() != before


def test_a_part_that_no_table_names_is_not_the_whole(folder, tmp_path, capsys):
    assert protect(folder, tmp_path / "part", *NOISE, "--split", "test") == 0
    (folder / "split.csv").write_text("file,split\n")
    assert protect(folder, tmp_path / "out", *NOISE, "--split", "train") == 3
    assert "no pictures in its train split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_every_image_fails_nothing_is_left(folder, tmp_path):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no picture")
    assert protect(folder, tmp_path / "new/out", *NOISE) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("json_too", [False, True])
def test_names_that_are_no_text_are_names(folder, tmp_path, capsys, json_too):
    strange = os.fsdecode(b"\xff\xfe")
    for part in ("images", "masks"):
        (folder / part / "p1.png").rename(folder / part / f"{strange}.png")
    (folder / "split.csv").unlink()
    out = tmp_path / f"out {strange}"
    more = ["--json"] if json_too else []
    assert protect(folder, out, *NOISE[:-1], *more) == 0
    assert (out / f"images/{strange}.png").is_file()
    said = capsys.readouterr().out
    assert not json_too or json.loads(said)["output"] == str(out)
    assert run(["keygen", "-o", str(tmp_path / f"key {strange}"), *more]) == 0


@pytest.fixture
def listening():
    """Ctrl-C does what it does in a terminal, even where these tests run in the background, which shells have ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_one_sentence_whatever_a_library_makes_of_it(tmp_path, capsys, monkeypatch):
    """It may arrive in a callback of a library, and come out as another error; or while commands are imported."""

    def callback(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RecursionError("maximum recursion depth exceeded") from error

    monkeypatch.setattr("privmed.locks.make_identity", callback)
    assert run(["keygen", "-o", str(tmp_path / "k"), "--json"]) == 130
    said = capsys.readouterr()
    assert said.err == "privmed: interrupted; nothing half-written is left.\n"
    assert json.loads(said.out)["error"]["exit_code"] == 130
    monkeypatch.setattr("typer.main.get_command", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run(["keygen", "-o", str(tmp_path / "k")]) == 130
    assert capsys.readouterr().err == "privmed: interrupted; nothing half-written is left.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), 2, "/tmp/x: cannot be written (No space left on device)."),
        (OSError(28, "No space left on device"), 2, "a temporary file: cannot be written (No space left on device)."),
        (PermissionError(13, "Permission denied", b"/x"), 3, "/x: cannot be used (Permission denied)."),
        (MemoryError(), 1, "there is not enough memory for this. Take smaller images, or fewer at a time."),
        (EOFError("no end"), 1, "unexpected EOFError: no end (run with --debug for the traceback)"),
    ],
)
def test_what_no_command_has_thought_of_is_a_sentence_too(tmp_path, capsys, monkeypatch, error, code, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("privmed.locks.make_identity", fail)
    assert run(["keygen", "-o", str(tmp_path / "k"), "--json"]) == code
    said = capsys.readouterr()
    assert said.err == f"privmed: {words}\n"
    assert json.loads(said.out)["error"]["message"] == words
