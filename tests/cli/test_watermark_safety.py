"""What must never happen to a marked set: an image whose key is lost, a lesion that is covered, a secret that can be computed."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import privmed
from privmed import locks
from privmed.cli import run
from privmed.imaging import read
from privmed.imaging.logo import draw_logo, read_logo
from privmed.interfaces.watermarker import Task
from privmed.keyfile import part_of, read_key
from privmed.locks import Passphrase

pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
pytestmark = pytest.mark.usefixtures("in_process")
pytest.importorskip("cryptography", reason="needs privmed[keys]")
SMALL = ["--trust-model", "--set", "population=6", "--set", "generations=1", "--set", "hops=1", "-q"]


class Judge(torch.nn.Module):
    """Says b as soon as the image is brighter than a threshold; cannot take batches of more than ``most``."""

    def __init__(self, threshold: float = 0.46, most: int = 1000) -> None:
        super().__init__()
        self.threshold, self.most = threshold, most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[0] <= self.most
        lead = 40 * (x.mean((1, 2, 3)) - self.threshold)
        return torch.stack([-lead, lead], 1)


def save_judge(path: Path, **more) -> Path:
    torch.jit.save(torch.jit.script(Judge(**more)), path)
    plain = {"classes": ["a", "b"], "size": 64, "mean": [0, 0, 0], "deviation": [1, 1, 1], "answers": "logits"}
    path.with_suffix(".json").write_text(json.dumps(plain))
    return path


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")


@pytest.fixture
def folder(tmp_path):
    """Four grey images of class a."""
    root, rng = tmp_path / "set", np.random.default_rng(0)
    (root / "a").mkdir(parents=True)
    for n in range(4):
        save(root / f"a/{n}.png", texture(rng))
    return root


@pytest.fixture
def model(tmp_path):
    return save_judge(tmp_path / "judge.pt")


def texture(rng, side: int = 64) -> np.ndarray:
    """Blobs, so that two of them look different."""
    coarse = Image.fromarray(rng.integers(40, 160, (8, 8), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def mark(folder, out, key, model, *more) -> int:
    return run(["watermark", str(folder), "-o", str(out), "--key", str(key), "--model", str(model), *SMALL, *more])


def stop_after(monkeypatch, count: int) -> None:
    """Interrupt a run after so many published images."""
    from privmed.data import watermark as layer

    publish, seen = layer._publish, []

    def stop(*args):
        if len(seen) == count:
            raise KeyboardInterrupt
        seen.append(1)
        publish(*args)

    monkeypatch.setattr(layer, "_publish", stop)


def test_whatever_changed_before_it_was_resumed_every_image_comes_back(folder, tmp_path, model, monkeypatch):
    out, key = tmp_path / "out", tmp_path / "k"
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert mark(folder, out, key, model, "--together", "4") == 130
    save(folder / "a/1.png", texture(np.random.default_rng(9)))  # its old entry is of another image
    assert (
        mark(folder, out, key, model, "--together", "3", "--resume") == 0
    )  # other groups, so other marks would be found
    assert run(["unlock", str(out), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]) == 0
    for path in (folder / "a").iterdir():
        assert np.array_equal(read(path).pixels, read(tmp_path / "back/a" / path.name).pixels)


def test_going_on_without_the_unfinished_key_is_refused(folder, tmp_path, model, monkeypatch, capsys):
    out, key = tmp_path / "out", tmp_path / "k"
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert mark(folder, out, key, model) == 130
    assert mark(folder, out, key, model, "--resume", "--share", "1", "--set", "step=3") == 2
    assert "other settings" in capsys.readouterr().err
    part_of(key).unlink()
    assert mark(folder, out, key, model, "--resume") == 2
    assert "is gone" in capsys.readouterr().err


def test_other_recipients_are_refused_when_going_on(folder, tmp_path, model, monkeypatch, capsys):
    monkeypatch.delenv("PRIVMED_PASSPHRASE")
    for name in ("ann", "bob"):
        assert run(["keygen", "-o", str(tmp_path / name), "-q"]) == 0
    out, key = tmp_path / "out", tmp_path / "k"
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert mark(folder, out, key, model, "--recipient", str(tmp_path / "ann.pub")) == 130
    again = ["--resume", "--identity", str(tmp_path / "ann"), "--recipient"]
    assert mark(folder, out, key, model, *again, str(tmp_path / "bob.pub")) == 2
    assert "other recipients" in capsys.readouterr().err
    assert mark(folder, out, key, model, *again, str(tmp_path / "ann.pub")) == 0


def test_the_key_is_not_published(folder, tmp_path, model, capsys):
    assert mark(folder, tmp_path / "out", tmp_path / "out/k", model) == 2
    assert "Keep the key somewhere else" in capsys.readouterr().err


def test_the_smallest_lesion_is_spared(tmp_path, model):
    root, rng = tmp_path / "set", np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for n in range(3):
        mask = np.zeros((128, 128), np.uint8)
        mask[20 + 30 * n, 10::13] = 255  # single pixels
        save(root / f"images/{n}.png", texture(rng, 128))
        save(root / f"masks/{n}.png", mask)
    (root / "labels.csv").write_text("\ufefffile,label\n0.png,a\n1.png,a\n2.png,a\n", encoding="utf-8")  # as Excel does
    assert mark(root, tmp_path / "out", tmp_path / "k", model, "--where", "outside", "--set", "keep_out.dilate=0") == 0
    for n in range(3):
        changed = read(root / f"images/{n}.png").pixels != read(tmp_path / f"out/images/{n}.png").pixels
        assert changed.any()
        assert not (changed & (read(root / f"masks/{n}.png").pixels > 0)).any()


def test_a_mark_that_cannot_be_seen_is_named(folder, tmp_path, model, capsys):
    save(folder / "a/white.png", np.full((64, 64), 255, np.uint8))
    white = np.full((20, 20, 3), 255, np.uint8)
    save(tmp_path / "logo.png", white)
    assert mark(folder, tmp_path / "out", tmp_path / "k", model, "--logo", str(tmp_path / "logo.png")) == 1
    assert not (tmp_path / "out/a/white.png").exists()
    save(tmp_path / "logo.png", 0 * white)
    assert mark(folder, tmp_path / "o2", tmp_path / "k2", model, "--logo", str(tmp_path / "logo.png")) == 3
    assert "transparent everywhere" in capsys.readouterr().err
    assert not part_of(tmp_path / "k2").exists()


def test_a_16_bit_logo_keeps_its_grey(tmp_path):
    save(tmp_path / "logo.png", np.full((8, 8), 30000, np.uint16))
    assert torch.allclose(read_logo(tmp_path / "logo.png"), torch.tensor(30000 / 65535), atol=1e-3)


def test_two_keys_of_one_owner_both_count(folder, tmp_path, model, capsys):
    for n in ("1", "2"):
        split = folder / "split.csv"
        split.write_text(f"file,split\na/{n}.png,train\n")
        assert mark(folder, tmp_path / n, tmp_path / f"k{n}", model, "--owner", "Mary", "--split", "train") == 0
    capsys.readouterr()
    command = ["verify", str(tmp_path / "1"), "--key", str(tmp_path / "k1"), "--key", str(tmp_path / "k2"), "--json"]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["untouched"] == 1


def test_a_namesake_is_not_accused(folder, tmp_path, model, capsys):
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 0
    save(tmp_path / "out/a/1.png", np.random.default_rng(5).integers(0, 255, (64, 64), dtype=np.uint8))
    capsys.readouterr()
    assert run(["verify", str(tmp_path / "out"), "--key", str(tmp_path / "k"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] == 1


def test_a_model_that_fails_is_one_sentence_and_leaves_nothing(folder, tmp_path, capsys):
    model = save_judge(tmp_path / "one.pt", most=1)
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 3
    said = capsys.readouterr().err
    assert "model one: fails on a batch" in said
    assert len(said.strip().splitlines()) == 1
    assert not part_of(tmp_path / "k").exists()


def test_jitter_is_a_secret_of_128_bits(folder, tmp_path, model, capsys):
    assert mark(folder, tmp_path / "out", tmp_path / "k", model, "--seed", "1", "--set", "jitter=60") == 2
    assert "no secret" in capsys.readouterr().err
    locker = privmed.watermarker("medlocker", jitter=60)

    def jitter(**more) -> np.ndarray:
        task = Task(image=torch.rand(1, 1, 64, 64), label=0, **more)
        return locker._state(task, draw_logo()).problem.jitter((16, 16), 60)

    assert np.array_equal(jitter(secret=b"a", generator=1), jitter(secret=b"a", generator=2))
    assert (jitter(secret=b"a", generator=1) != jitter(secret=b"b", generator=1)).any()
    assert (jitter() != jitter()).any()
    assert np.array_equal(jitter(generator=3), jitter(generator=3))
    assert (jitter(generator=3) != jitter(generator=4)).any()


def test_a_passphrase_is_the_same_however_it_was_typed(folder, tmp_path, model, monkeypatch):
    monkeypatch.setenv("PRIVMED_PASSPHRASE", unicodedata.normalize("NFD", "café"))
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 0
    assert len(read_key(tmp_path / "k", [Passphrase(unicodedata.normalize("NFC", "café"))])) == 5


def test_no_channel_tells_the_jitter_of_a_grey_picture_stored_in_colour(folder, tmp_path, model):
    """A coloured mark on pixels of R = G = B would give away the opacity of each: by how far its channels are apart."""
    for path in (folder / "a").iterdir():
        save(path, np.stack([np.asarray(Image.open(path))] * 3, 2))
    assert mark(folder, tmp_path / "out", tmp_path / "k", model, "--set", "jitter=60") == 0
    for path in (tmp_path / "out/a").iterdir():
        marked = np.asarray(Image.open(path))
        assert (marked == marked[..., :1]).all()


def test_a_stranger_of_the_same_name_and_a_black_picture_are_strangers(folder, tmp_path, model, capsys):
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 0
    rng = np.random.default_rng(77)
    for n in range(3):
        save(tmp_path / f"out/a/{n}.png", texture(rng))
    save(tmp_path / "out/a/3.png", np.zeros((64, 64), np.uint8))
    capsys.readouterr()
    assert run(["verify", str(tmp_path / "out"), "--key", str(tmp_path / "k"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] == 4


def test_an_unreadable_image_is_not_the_end_of_a_good_check(folder, tmp_path, model):
    assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 0
    (tmp_path / "out/a/0.png").write_bytes(b"no picture")
    assert run(["verify", str(tmp_path / "out"), "--key", str(tmp_path / "k"), "-q"]) == 1


def test_nothing_marked_is_no_key(folder, tmp_path, model, capsys):
    (folder / "a").rename(folder / "unheard")
    out, key = tmp_path / "out", tmp_path / "k"
    assert mark(folder, out, key, model) == 3
    assert "none of the 4 images could be marked, so there is no key" in capsys.readouterr().err
    assert not key.exists()
    assert not part_of(key).exists()
    (folder / "unheard").rename(folder / "a")
    assert mark(folder, tmp_path / "again", key, model) == 0


def test_the_table_of_classes_comes_before_the_sub_folders(tmp_path, model):
    root, rng = tmp_path / "set", np.random.default_rng(0)
    for patient in ("p1", "p2"):
        (root / "images" / patient).mkdir(parents=True)
        save(root / f"images/{patient}/x.png", texture(rng))
    (root / "labels.csv").write_text("file,label\np1/x.png,a\np2/x.png,b\n")
    assert mark(root, tmp_path / "out", tmp_path / "k", model) == 0


def test_another_owner_or_seed_is_refused_when_going_on(folder, tmp_path, model, monkeypatch, capsys):
    out, key = tmp_path / "out", tmp_path / "k"
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert mark(folder, out, key, model, "--owner", "A", "--seed", "5") == 130
    for other in (["--owner", "B"], ["--seed", "7"]):
        assert mark(folder, out, key, model, "--resume", *other) == 2
        assert "another owner or with another seed" in capsys.readouterr().err
    assert mark(folder, out, key, model, "--resume", "--owner", "A", "--seed", "5") == 0


def test_a_key_that_holds_something_is_never_thrown_away(folder, tmp_path, model, monkeypatch):
    from privmed.errors import OutputError

    def full(*_, **__):
        raise OutputError("manifest: cannot be written (No space left on device).")

    out, key = tmp_path / "out", tmp_path / "k"
    with monkeypatch.context() as patched:
        patched.setattr("privmed.data.release.Release.add", full)
        assert mark(folder, out, key, model) == 2
    assert part_of(key).exists()
    assert mark(folder, out, key, model, "--resume") == 0
    assert run(["unlock", str(out), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]) == 0


def test_a_damaged_image_of_a_complete_set_is_written_again(folder, tmp_path, model, monkeypatch, capsys):
    out, key = tmp_path / "out", tmp_path / "k"
    assert mark(folder, out, key, model) == 0
    before, entries = (out / "a/1.png").read_bytes(), read_key(key, [Passphrase("correct horse")])
    (out / "a/1.png").write_bytes(before[:100])
    assert mark(folder, out, key, model, "--resume", "--set", "step=3") == 2
    assert "was begun with other settings" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        stop_after(patched, 0)
        assert mark(folder, out, key, model, "--resume") == 130
    assert read_key(key, [Passphrase("correct horse")]) == entries
    assert mark(folder, out, key, model, "--resume") == 0
    assert (out / "a/1.png").read_bytes() == before
    assert read_key(key, [Passphrase("correct horse")]) == entries
    assert not part_of(key).exists()


def test_an_interruption_before_the_first_mark_leaves_nothing(folder, tmp_path, model, monkeypatch):
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patched:
        stop_after(patched, 0)
        assert mark(folder, tmp_path / "out", tmp_path / "k", model) == 130
    assert sorted(tmp_path.iterdir()) == before
    assert mark(folder, tmp_path / "out", tmp_path / "k", model, "--resume") == 0


def test_a_method_that_needs_no_model_marks_without_one(folder, tmp_path, install, capsys):
    source = """
import numpy as np
from privmed import Watermarker, hookimpl
from privmed.interfaces.search import Proposals

class Corner(Watermarker):
    name = "corner"
    needs_oracle = False

    def _search(self, problem, rng):
        return Proposals([problem.fitted_logo().at(0, 0)])

@hookimpl
def privmed_register(register):
    register(Corner)
"""
    install("acme", "watermarkers", {"corner": "acme_corner"}, {"acme_corner": source})
    (folder / "a").rename(folder / "images")  # nothing is known of classes
    out, key = tmp_path / "out", tmp_path / "k"
    plain = ["watermark", str(folder), "-o", str(out), "--key", str(key)]
    assert run([*plain, "--watermarker", "corner", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["misled"] == 0
    assert run(["unlock", str(out), "-o", str(tmp_path / "back"), "--key", str(key), "-q"]) == 0
    for path in (folder / "images").iterdir():
        assert np.array_equal(read(path).pixels, read(tmp_path / "back/images" / path.name).pixels)
    assert run(["watermark", str(folder), "-o", str(tmp_path / "o2"), "--key", str(tmp_path / "k2"), "-q"]) == 2
    assert "medlocker: needs a model to mislead" in capsys.readouterr().err


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_workers_and_shards_mark_as_one_process_does(folder, tmp_path, model, capsys):
    """The models run in processes of the workers; each shard has a key, and all of them together lift the marks."""
    how = ["--seed", "3", "--together", "2"]
    assert mark(folder, tmp_path / "one", tmp_path / "k1", model, *how) == 0
    assert mark(folder, tmp_path / "two", tmp_path / "k2", model, *how, "--workers", "1") == 0
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    words = [Passphrase("correct horse")]
    assert read_key(tmp_path / "k2", words) == read_key(tmp_path / "k1", words)
    for n in (1, 2):
        assert mark(folder, tmp_path / "three", tmp_path / "marks.key", model, *how, "--shard", f"{n}/2") == 0
    assert run(["jobs", "merge", str(tmp_path / "three"), "-q"]) == 0
    assert tree(tmp_path / "three") == tree(tmp_path / "one")
    keys = [w for n in (1, 2) for w in ("--key", str(tmp_path / f"marks.shard-{n}-of-2.key"))]
    for name, more in (("a", []), ("b", ["--workers", "1"])):
        assert run(["unlock", str(tmp_path / "three"), "-o", str(tmp_path / name), *keys, "-q", *more]) == 0
        for path in folder.rglob("*.png"):
            assert np.array_equal(read(tmp_path / name / path.relative_to(folder)).pixels, read(path).pixels)
    told = []
    for more in ([], ["--workers", "1"]):
        capsys.readouterr()
        assert run(["verify", str(tmp_path / "three"), *keys, "--json", *more]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["untouched"] == 4


def test_a_shard_that_is_left_without_images_is_a_shard_all_the_same(folder, tmp_path, capsys):
    """Images are dealt out in groups of --together, of which a small set has one; the empty key opens nothing and harms nothing."""
    how = ["--watermarker", "plain", "--seed", "3", "-q"]
    for n in (1, 2):
        asked = ["watermark", str(folder), "-o", str(tmp_path / "out"), "--key", str(tmp_path / "m.key"), *how]
        assert run([*asked, "--shard", f"{n}/2"]) == 0, capsys.readouterr().err
    assert run(["jobs", "merge", str(tmp_path / "out"), "-q"]) == 0
    keys = [w for n in (1, 2) for w in ("--key", str(tmp_path / f"m.shard-{n}-of-2.key"))]
    assert run(["verify", str(tmp_path / "out"), *keys, "-q"]) == 0
    assert run(["unlock", str(tmp_path / "out"), "-o", str(tmp_path / "back"), *keys, "-q"]) == 0
    for path in folder.rglob("*.png"):
        assert np.array_equal(read(tmp_path / "back" / path.relative_to(folder)).pixels, read(path).pixels)


def test_only_ways_that_a_command_has_are_offered_where_a_passphrase_is_missing(folder, tmp_path, capsys, monkeypatch):
    asked = [
        "watermark",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--key",
        str(tmp_path / "m.key"),
        "--watermarker",
        "plain",
        "-q",
    ]
    assert run(asked) == 0
    monkeypatch.delenv("PRIVMED_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(["unlock", str(tmp_path / "out"), "-o", str(tmp_path / "back"), "--key", str(tmp_path / "m.key")]) == 5
    assert "set PRIVMED_PASSPHRASE, or give --passphrase-file or --identity." in " ".join(
        capsys.readouterr().err.split()
    )
