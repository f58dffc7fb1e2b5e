"""Every command x every kind of bad file or argument: the documented exit code, one sentence, JSON for programs, and nothing is lost.

A row is a command, what is put in the place of one of its good inputs (or added to it), the exit code, and what the sentence must name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from privmed import locks
from privmed.cli import run

for plugin in ("hiders", "analyzers", "protectors", "watermarkers"):
    pytest.importorskip(f"privmed_{plugin}", reason=f"needs the plugin privmed-{plugin}")
pytest.importorskip("cryptography", reason="needs privmed[keys]")

LONG = "x" * 300
STRANGE = os.fsdecode(b"bad/\xff\xfe.png")  # a name that is no text in UTF-8
ONE = ["--set", "population=6", "--set", "generations=1", "--set", "hops=1"]
LOGOS = ("bad/clear.png", "bad/animation.png", "bad/cmyk.jpg")  # a logo may be any picture
COMMANDS = {
    "hide": ["hide", "scan.png", "photo.jpg", "-o", "out.png"],
    "analyze": ["analyze", "sent.png", "-o", "out.png"],
    "recover": ["recover", "sent.png", "-o", "out.png"],
    "hide file": ["hide", "note.txt", "photo.jpg", "-o", "out.png", "--key", "shared.key"],
    "recover file": ["recover", "held.png", "-o", "out.bin", "--key", "shared.key"],
    "mask": ["recover", "sent.png", "-o", "out.png", "--as", "mask"],
    "covert": ["covert", "scan.png", "photo.jpg", "-o", "out"],
    "demo": ["demo", "-o", "out"],
    "protect": ["protect", "set", "-o", "out", "--protector", "noise", "--set", "where=roi"],
    "watermark": ["watermark", "classes", "-o", "out", "--key", "out.key", "--model", "model.onnx", *ONE],
    "unlock": ["unlock", "classes", "-o", "out", "--key", "marks.key"],
    "verify": ["verify", "classes", "--key", "marks.key"],
    "keygen": ["keygen", "-o", "out.pem"],
    "bench protection": ["bench", "protection", "--data", "parts", "-o", "out", "--methods", "noise", "--seeds", "1"],
    "bench watermark": ["bench", "watermark", "--data", "classes", "-o", "out", "--model", "model.onnx"],
    "train": ["train", "recipe.yaml", "-o", "out"],
    "plugins": ["plugins"],
    "plugins show": ["plugins", "show", "hider:lightih"],
}
Row = tuple[str, list[str], int, str]


def swap(command: str, good: str, bad: str, code: int, names: str | None = None) -> Row:
    """A row in which ``bad`` stands in the place of ``good``; the sentence names it."""
    return command, [bad if a == good else a for a in COMMANDS[command]], code, bad if names is None else names


def add(command: str, *more: str, code: int, names: str) -> Row:
    """A row with further arguments."""
    return command, [*COMMANDS[command], *more], code, names


def pictures() -> list[Row]:
    kinds = ["none", "cut", "empty", "text", "folder", "animation", "clear", "pipe"]
    bad = [f"bad/{kind}.png" for kind in kinds] + ["bad/cmyk.jpg", "bad/nan.tif", LONG, STRANGE, "scan.png/x.png"]
    slots = [("hide", "scan.png"), ("hide", "photo.jpg"), ("analyze", "sent.png"), ("recover", "sent.png")]
    slots += [("covert", "scan.png"), ("covert", "photo.jpg"), ("hide file", "photo.jpg"), ("recover file", "held.png")]
    rows = [swap(command, good, b, 3) for command, good in slots for b in bad]
    rows += [swap(command, "sent.png", "photo.jpg", 3) for command in ("analyze", "recover", "mask")]
    rows += [swap(command, good, "bad/small.png", 3, "32") for command, good in slots[:1]]
    rows += [add("watermark", "--logo", b, code=3, names=b) for b in bad if b not in LOGOS]
    rows += [add("hide", "--frame", "7", code=3, names="scan.png")]
    unread = ["none", "bad/folder.png", "bad/pipe.png", LONG, STRANGE, "scan.png/x.png"]
    rows += [swap("hide file", "note.txt", b, 3) for b in unread]  # any file that can be read may be hidden
    rows += [swap("hide file", "note.txt", "photo.jpg", 3, "photo.jpg: 40 x 40 pixels in grey are too few")]
    rows += [
        swap(c, g, "bad/small.png", 3, "32") for c, g in (("hide file", "photo.jpg"), ("recover file", "held.png"))
    ]
    rows += [swap("recover file", "held.png", "photo.jpg", 3), swap("recover file", "held.png", "scan.png", 5)]
    return rows


def datasets() -> list[Row]:
    bad = ["none", "scan.png", "bad/no-pictures", LONG, STRANGE, "bad/pipe.png", "scan.png/x"]
    slots = [("protect", "set"), ("watermark", "classes"), ("unlock", "classes"), ("verify", "classes")]
    slots += [("bench protection", "parts"), ("bench watermark", "classes")]
    rows = [swap(command, good, b, 3) for command, good in slots for b in bad]
    rows += [swap("protect", "set", "photos", 3), swap("watermark", "classes", "photos", 3, "photos")]
    rows += [swap("protect", "set", f"tables/{t}", 3) for t in ("bytes", "columns", "head")]
    rows += [
        swap("watermark", "classes", f"{kind}/{t}", 3) for kind in ("tables", "labels") for t in ("bytes", "columns")
    ]
    rows += [add(c, "--split", "val", code=3, names="val") for c in ("protect", "watermark")]
    return rows


def outputs() -> list[Row]:
    rows = []
    for command, out in (("hide", "out.png"), ("analyze", "out.png"), ("recover", "out.png"), ("keygen", "out.pem")):
        bad = ["taken", "none/out.png", "scan.png", "scan.png/out.png", f"{LONG}.png", os.fsdecode(b"none/\xff.png")]
        rows += [swap(command, out, b, 2) for b in bad]
    bad = ["taken", "none/out.png", "scan.png", "scan.png/out.png", f"{LONG}.png", "note.txt", "shared.key"]
    rows += [
        swap(command, out, b, 2)
        for command, out in (("hide file", "out.png"), ("recover file", "out.bin"))
        for b in bad
    ]
    for command in ("hide", "hide file", "analyze", "recover"):
        rows += [swap(command, "out.png", "out.jpg", 2)]
        same = swap(command, "out.png", COMMANDS[command][1], 2)
        rows += [(command, [*same[1], "--force"], 2, same[3])]
    for command in ("covert", "demo", "protect", "watermark", "unlock", "bench protection", "bench watermark", "train"):
        rows += [swap(command, "out", b, 2) for b in ("scan.png", "scan.png/out", LONG)]
    for command, good in (("protect", "set"), ("watermark", "classes"), ("unlock", "classes")):
        rows += [swap(command, "out", b, 2) for b in ("taken", good, f"{good}/new", ".", "/proc/none/out")]
    rows += [swap("watermark", "out.key", b, 2) for b in ("taken", "none/k", "scan.png", "scan.png/k", LONG, "out/k")]
    saves = ["fitted.safetensors", "fitted.json", "set/f.safetensors", "none/f.safetensors", f"{LONG}.safetensors"]
    rows += [add("protect", "--save", s, code=2, names=s) for s in [*saves, "out/f.safetensors", "taken"]]
    return rows


def keys() -> list[Row]:
    bad = ["none", "taken", "scan.png", "bad/empty.png", "bad/cut.key", "bad/header.key", LONG, STRANGE]
    rows = [swap(command, "marks.key", b, 5) for command in ("unlock", "verify") for b in bad]
    for b in ("none", "taken", "scan.png", "bad/empty.png", "bad/bytes.txt", "marks.key", LONG, STRANGE):
        rows += [add(command, "--identity", b, code=5, names=b) for command in ("unlock", "verify")]
        rows += [add("watermark", "--recipient", b, code=5, names=b)]
        if b not in ("marks.key",):
            commands = ("unlock", "verify", "watermark")
            rows += [
                add(c, "--passphrase-file", b, code=5, names="passphrase" if "empty" in b else b) for c in commands
            ]
    for command in ("hide file", "recover file"):
        bad = [
            "none",
            "taken",
            "note.txt",
            "bad/empty.png",
            "bad/upper.key",
            "marks.key",
            "ann",
            "ann.pub",
            LONG,
            STRANGE,
        ]
        rows += [swap(command, "shared.key", b, 5) for b in bad]
        rows += [add(command, "--passphrase-file", "note.txt", code=2, names="--key and --passphrase-file")]
    rows += [("recover", ["recover", "held.png", "-o", "out.bin", "--hider", "lsbm"], 5, "held.png")]
    rows += [add("unlock", "--identity", "ann.pub", code=5, names="ann.pub")]
    rows += [add("watermark", "--recipient", "ann", code=5, names="ann")]
    return rows


def weights() -> list[Row]:
    bad = [
        "none",
        "none.safetensors",
        "taken",
        "scan.png",
        *(f"bad/{n}.safetensors" for n in ("weights", "carded", "listed")),
    ]
    rows = []
    for b in [*bad, LONG, STRANGE]:
        options = [("hide", "--weights"), ("analyze", "--weights"), ("recover", "--weights"), ("covert", "--weights")]
        options += [("covert", "--hider-weights"), ("mask", "--analyzer-weights"), ("protect", "--load")]
        rows += [add(command, option, b, code=4, names=b) for command, option in options]
    models = ["none.onnx", "none.safetensors", *bad[4:], "taken/none.pt", f"{LONG}.onnx"]
    for command in ("watermark", "bench watermark"):
        rows += [swap(command, "model.onnx", b, 4) for b in models]
        rows += [swap(command, "model.onnx", b, 2) for b in ("taken", "scan.png", "none", LONG)]
    return rows


def recipes() -> list[Row]:
    bad = [("none.yaml", 3), ("taken", 3), ("scan.png", 3), ("bad/broken.yaml", 3), ("bad/bytes.yaml", 3), (LONG, 3)]
    bad += [(STRANGE, 3), ("bad/empty.png", 2), ("bad/list.yaml", 2), ("bad/unknown.yaml", 2), ("bad/pipe.png", 3)]
    rows = [swap("train", "recipe.yaml", b, code) for b, code in bad]
    settings = [("data.root=none", 3, "root"), ("task=nothing", 2, "task"), ("method=x", 2, "'x'")]
    settings += [("method=hider", 2, "''"), ("method=hider:nobody", 2, "nobody")]
    rows += [add("train", "--set", given, code=code, names=names) for given, code, names in settings]
    rows += [add("train", "--set", "seed=-1", code=2, names="seed"), add("train", "--resume", code=3, names="out")]
    rows += [add("train", "--set", f"seed={2**70}", code=2, names="seed")]
    return rows


def arguments() -> list[Row]:
    rows = []
    for command, given in COMMANDS.items():
        rows += [add(command, "--nonsense", code=2, names="--nonsense")]
        if len(given) > 3:
            rows += [(command, given[: 1 + command.startswith("bench")], 2, "Missing")]
    computing = [c for c in COMMANDS if c not in ("unlock", "verify", "keygen", "plugins", "plugins show")]
    rows += [add(c, "--device", d, code=2, names="device") for c in computing for d in ("meta", "tpu9", "", STRANGE)]
    for command in computing:
        if not command.startswith("bench"):
            rows += [add(command, f"--seed={s}", code=2, names="--seed") for s in (-1, 2**70, "x")]
    settable = [c for c in computing if c not in ("covert", "demo")]
    for text, names in (("x", "'x'"), ("nope=1", "nope"), ("=1", "=1"), ("a=[", "a=["), ("a.b.c=1", "a")):
        rows += [add(c, "--set", text, code=2, names=names) for c in settable]
    methods = [("hide", "--hider"), ("analyze", "--analyzer"), ("recover", "--hider"), ("covert", "--analyzer")]
    methods += [("protect", "--protector"), ("watermark", "--watermarker"), ("bench protection", "--methods")]
    methods += [("bench watermark", "--methods"), ("mask", "--analyzer"), ("covert", "--hider")]
    rows += [add(c, option, name, code=2, names=name) for c, option in methods for name in ("nobody", "hider:x")]
    rows += [add("protect", f"--epsilon={e}", code=2, names="epsilon") for e in ("0", "-1", "nan", "x", "4/0")]
    rows += [add("protect", "--judge", j, code=2, names="--judge") for j in ("slow", "", "quick")]  # too few images
    rows += [add("watermark", f"--share={s}", code=2, names="share") for s in ("nan", "-1", "0", "x", "inf")]
    for option in (["--weights", "x"], ["--seed", "3"]):
        rows += [
            add(c, *option, code=2, names=f"{option[0]}: lsbm carries files") for c in ("hide file", "recover file")
        ]
    for option in (["--frame", "0"], ["--refine", "3"], ["--use", "view"], ["--strict"], ["--allow-lossy"]):
        rows += [add("hide file", *option, code=2, names=f"{option[0]}: lsbm carries files")]
    rows += [add("recover file", "--as", "mask", code=2, names="--as: lsbm carries files")]
    for command in ("hide", "recover"):
        rows += [add(command, "--hider", "hinet", "--key", "shared.key", code=2, names="--key: hinet hides images")]
    rows += [add("covert", "--hider", "lsbm", code=2, names="lsbm carries files")]
    rows += [add("mask", "--hider", "lsbm", code=2, names="--as: lsbm carries files")]
    rows += [add("train", "--set", "method=hider:lsbm", code=2, names="lsbm carries files")]
    rows += [
        add("watermark", "--where", "x", code=2, names="--where"),
        add("recover", "--as", "x", code=2, names="--as"),
    ]
    rows += [
        add(c, "--limit", "-1", code=2, names="--limit") for c in ("watermark", "unlock", "verify", "bench watermark")
    ]
    rows += [add("bench protection", "--seeds", n, code=2, names="--seeds") for n in ("0", str(2**70))]
    rows += [add("bench protection", o, "x", code=2, names="x") for o in ("--exploiters", "--defences")]
    rows += [add("bench watermark", o, "x", code=2, names="x") for o in ("--ensemble", "--where")]
    rows += [add("bench watermark", "--masks", b, code=3, names=b) for b in ("none", "scan.png")]
    rows += [("", ["nonsense"], 2, "nonsense"), ("", ["bench"], 2, ""), ("", [], 2, "")]
    rows += [add("plugins", "--kind", "x", code=2, names="'x'")]
    rows += [swap("plugins show", "hider:lightih", m, 2, "'x'") for m in ("x", "hider:x", "x:lightih")]
    return rows


ROWS = [*pictures(), *datasets(), *outputs(), *keys(), *weights(), *recipes(), *arguments()]


def name_of(row: Row) -> str:
    words = " ".join(a[:30] for a in row[1]).encode("ascii", "backslashreplace").decode()
    return words.replace("/", "|") or "nothing"


class Stuck(BaseException):
    """A command that waits for a named pipe."""


@pytest.fixture(autouse=True)
def around(world, monkeypatch):
    """Commands run in the folder of good and bad files, with a cheap model and a passphrase."""
    from privmed import oracles

    load = oracles.load_oracle

    def load_or_stand_in(path, *args, **more):
        if Path(path).name != "model.onnx":
            return load(path, *args, **more)
        declared = oracles.ModelSpec(classes=["a", "b"], size=32, mean=[0.0] * 3, deviation=[1.0] * 3, answers="logits")
        return oracles.Oracle(lambda x: torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0]], 1), declared)

    monkeypatch.chdir(world)
    monkeypatch.setattr("privmed.imaging.logo.draw_logo", lambda *_: torch.ones(1, 4, 16, 16))
    monkeypatch.setattr(oracles, "load_oracle", load_or_stand_in)
    monkeypatch.setattr("privmed.bench.suites.watermark.load_oracle", load_or_stand_in)
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")
    yield
    for path in world.glob("out*"):  # of a row that has failed: the others shall not fail with it
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): ((s := p.lstat()).st_size, s.st_mtime_ns if not p.is_dir() else 0) for p in root.rglob("*")}


def bounded(arguments: list[str]) -> int:
    """Run, and give up on a command that hangs."""

    def stop(*_):
        raise Stuck

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 30)
    try:
        return run(arguments)
    except Stuck:
        pytest.fail("waits for a named pipe")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_bad_input_is_one_sentence_and_costs_nothing(world, capsys, row):
    _, given, code, names = row
    before = snapshot(world)
    piped = any("pipe" in a for a in given)
    assert (bounded if piped else run)([*given, "--json"]) == code
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("privmed: ")
    assert names.encode("ascii", "backslashreplace").decode() in lines[0]
    assert "unexpected" not in lines[0]
    told = json.loads(said.out)["error"]
    assert told["exit_code"] == code
    assert told["type"].isidentifier()
    assert lines[0] == f"privmed: {told['message']}".encode("utf-8", "backslashreplace").decode()
    assert snapshot(world) == before


@pytest.mark.parametrize("row", ROWS[::60], ids=name_of)
def test_without_json_nothing_is_on_stdout(world, capsys, row):
    if any("pipe" in a for a in row[1]):
        pytest.skip("may wait")
    assert run(row[1]) == row[2]
    said = capsys.readouterr()
    assert not said.out
    assert len(said.err.strip().splitlines()) == 1


MIXED = {
    "protect": ["protect", "mixed", "-o", "out", "--protector", "lsp"],
    **{name: ["mixed" if a == "classes" else a for a in COMMANDS[name]] for name in ("watermark", "unlock", "verify")},
}


@pytest.mark.parametrize("command", MIXED)
def test_bad_images_of_a_set_are_named_and_left_out(world, capsys, command):
    """The good one is protected or marked; unlock and verify know none of them."""
    assert run([*MIXED[command], "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    told = told["failed"] if "failed" in told else [x for x in told["images"] if x["state"] == "unreadable"]
    bad = {f"a/{p.name}" for p in (world / "mixed/a").iterdir()} - {"a/good.png"}
    named = {line["file"] for line in told}
    assert bad - {"a/small.png"} <= named <= bad | ({"a/good.png"} if command == "unlock" else set())
    assert all(Path(line["file"]).name in line.get("reason", line["file"]) for line in told)
    published = [p.name for p in Path("out/a").glob("*")]
    assert published == (["good.png"] if command in ("protect", "watermark") else [])
