"""``privmed protect``: what a release promises beyond the pixels: its fit, its classes, its tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from privmed.cli import run
from privmed.data.protect import CHECKPOINT, FITTED
from privmed.data.workplace import work_of

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]
TINY = ["--set", "width=2", "--set", "size=32"]
TAP = ["--protector", "tap", *TINY, "--set", "epochs=2", "--set", "steps=2", "-q"]
EM = ["--protector", "em", *TINY, "--set", "rounds=3", "--set", "batches=1", "--set", "steps=2", "-q"]


@pytest.fixture
def folder(phantoms, tmp_path):
    return phantoms(tmp_path / "set")


@pytest.fixture
def classes(folder, tmp_path):
    root = tmp_path / "classes"
    for i, name in enumerate(("benign", "malignant", "benign", "malignant")):
        (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"images/p{i}.png", root / name / f"p{i}.png")
    return root


def manifest(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def protect(source: Path, out: Path, *more: str) -> int:
    return run(["protect", str(source), "-o", str(out), *more])


def test_a_loaded_protector_keeps_its_epsilon_and_seed_unless_told_otherwise(folder, tmp_path):
    fitted = str(tmp_path / "fitted.safetensors")
    assert protect(folder, tmp_path / "a", *TAP, "--epsilon", "8/255", "--seed", "3", "--save", fitted) == 0
    load = ["--protector", "tap", "--load", fitted, "-q"]
    assert protect(folder, tmp_path / "b", *load) == 0
    assert protect(folder, tmp_path / "c", *load, "--epsilon", "2/255") == 0
    a, b, c = (manifest(tmp_path / name)[0] for name in "abc")
    assert b["config"] == a["config"]
    assert b["config"]["seed"] == 3
    assert b["largest_change"] == pytest.approx(8 / 255, abs=1e-5)
    assert c["largest_change"] == pytest.approx(2 / 255, abs=1e-5)


def test_a_set_is_not_overwritten_by_force(folder, tmp_path, capsys):
    assert protect(folder, tmp_path / "a", *NOISE, "--force") == 2
    assert "--force: is for single files" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_classes_mean_the_same_in_every_part_of_a_set(classes, tmp_path):
    """Class-wise noise fitted on both classes serves a later folder that has only the second."""
    fitted = str(tmp_path / "fitted.safetensors")
    classwise = [*EM, "--set", "classwise=true", "--save", fitted]
    assert protect(classes, tmp_path / "all", *classwise) == 0
    later = tmp_path / "later"
    shutil.copytree(classes / "malignant", later / "malignant")
    load = ["--protector", "em", "--load", fitted, "-q"]
    assert protect(later, tmp_path / "part", *load) == 0
    assert tree(tmp_path / "part/malignant") == tree(tmp_path / "all/malignant")
    assert manifest(tmp_path / "part")[0]["classes"] == ["benign", "malignant"]
    (later / "malignant").rename(later / "unheard")
    assert protect(later, tmp_path / "other", *load) == 1


def test_a_part_of_a_split_has_the_classes_of_the_whole(classes, tmp_path):
    (classes / "split.csv").write_text(
        "file,split\nbenign/p0.png,train\nbenign/p2.png,train\nmalignant/p1.png,test\nmalignant/p3.png,test\n"
    )
    lsp = ["--protector", "lsp", "-q"]
    assert protect(classes, tmp_path / "all", *lsp) == 0
    assert protect(classes, tmp_path / "part", *lsp, "--split", "test") == 0
    assert tree(tmp_path / "part/malignant") == tree(tmp_path / "all/malignant")


def test_a_set_without_masks_or_classes_is_refused(folder, tmp_path, capsys):
    (folder / "masks").rename(folder / "Masks")
    assert protect(folder, tmp_path / "out", *NOISE) == 3
    assert "neither a folder masks/ beside images/ nor one sub-folder a class" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_image_beside_the_class_folders_is_named(classes, tmp_path, capsys):
    shutil.copy(classes / "benign/p0.png", classes / "stray.png")
    assert protect(classes, tmp_path / "out", "--protector", "lsp") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "left out stray.png" in said
    assert "belongs to no class" in said


def test_masks_without_an_image_are_counted(folder, tmp_path, capsys):
    shutil.copy(folder / "masks/p0.png", folder / "masks/alone.png")
    assert protect(folder, tmp_path / "out", *NOISE[:-1]) == 0
    assert "1 masks belong to no image" in " ".join(capsys.readouterr().out.split())


def test_a_fit_names_what_it_cannot_use_and_goes_on(folder, tmp_path, capsys):
    for part in ("images", "masks"):
        Image.open(folder / part / "p1.png").crop((0, 0, 40, 20)).save(folder / part / "p1.png")
    assert protect(folder, tmp_path / "out", *TAP[:-1]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "left out images/p1.png" in said
    assert "is 40 x 20 pixels" in said
    assert len(manifest(tmp_path / "out")) == 3


def test_jpegs_are_refused_before_the_fit(folder, tmp_path, capsys):
    for i in range(4):
        Image.open(folder / f"images/p{i}.png").save(folder / f"images/p{i}.jpg")
        (folder / f"images/p{i}.png").unlink()
    assert protect(folder, tmp_path / "out", *TAP) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "none of the 4 images can be used" in said
    assert "Convert the file to PNG" in said


def interrupt(*_, **__):
    raise KeyboardInterrupt


def interrupted(at, source, out, method, monkeypatch):
    """A run that is broken off where ``at`` is called for the first time."""
    monkeypatch.setattr(at, interrupt)
    assert protect(source, out, *method) == 130
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("at", "kept"),
    [("privmed.interfaces.fitting.Fitting.tell", CHECKPOINT), ("privmed.data.release.Release.run", FITTED)],
    ids=["in the fit", "after the fit"],
)
@pytest.mark.parametrize("method", [TAP, EM, [*EM, "--set", "enough=0"]], ids=["tap", "em", "em that ends early"])
def test_an_interrupted_run_equals_a_whole_one_and_goes_on_with_nothing_else(
    folder, tmp_path, capsys, monkeypatch, at, kept, method
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert protect(folder, whole, *method) == 0
    interrupted(at, folder, parts, method, monkeypatch)
    assert (work_of(parts) / kept).is_file()
    assert not any((parts / name).exists() for name in (CHECKPOINT, FITTED))
    for other in ([*method, "--epsilon", "6/255"], EM if method is TAP else TAP):
        assert protect(folder, parts, *other, "--resume") == 4
        assert "was made with another method, other settings or other images" in capsys.readouterr().err
    assert protect(folder, parts, *method, "--resume") == 0
    assert tree(whole) == tree(parts)


def test_what_is_mended_later_is_protected_by_the_same_fit(folder, tmp_path):
    out, good = tmp_path / "out", (folder / "images/p1.png").read_bytes()
    (folder / "images/p1.png").write_bytes(good[:100])
    assert protect(folder, out, *TAP) == 1
    before = tree(out / "images")
    (folder / "images/p1.png").write_bytes(good)
    assert (work_of(out) / FITTED).is_file()
    assert not [name for name in tree(out) if Path(name).name.startswith(".")]
    assert protect(folder, out, *TAP, "--resume") == 0
    assert {name: content for name, content in tree(out / "images").items() if name in before} == before
    assert not work_of(out).exists()


def test_nothing_is_fitted_when_nothing_is_left_to_write(folder, tmp_path, monkeypatch):
    assert protect(folder, tmp_path / "out", *TAP) == 0
    monkeypatch.setattr("privmed.interfaces.protector.Protector.fit", lambda *_, **__: 1 / 0)
    assert protect(folder, tmp_path / "out", *TAP, "--resume") == 0


def test_a_fitted_protector_is_never_saved_into_the_input(folder, tmp_path, capsys):
    before = tree(folder)
    assert protect(folder, tmp_path / "out", *TAP, "--save", str(folder / "fitted.safetensors")) == 2
    assert "originals must stay untouched" in capsys.readouterr().err
    (tmp_path / "taken.safetensors").mkdir()
    assert protect(folder, tmp_path / "out", *TAP, "--save", str(tmp_path / "taken.safetensors")) == 2
    assert tree(folder) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "file,label\np0.png,1\np1.png,2\n",
        "image,label\np0.png,1\np1.png,2\n",
        "file;label\r\np0.png;1\r\np1.png;2\r\n",
        "label,file\n1,images/p0.png\n2,images/p1.png\n",
        "name\tlabel\np0\t1\np1\t2\n",
        "file,label\n\np0.png\np1.png,2\nnobody.png,3\n",
    ],
)
def test_tables_lose_the_lines_of_what_was_left_out_and_no_other(folder, tmp_path, text):
    (folder / "labels.csv").write_bytes(text.encode())
    (folder / "images/p1.png").write_bytes(b"no picture")
    assert protect(folder, tmp_path / "out", *NOISE) == 1
    expected = "".join(line for line in text.splitlines(keepends=True) if "p1" not in line)
    assert (tmp_path / "out/labels.csv").read_bytes() == expected.encode()


def test_tables_in_other_encodings_are_kept_byte_for_byte(folder, tmp_path, capsys):
    content = "file,befund\np0.png,gutartig\xe4\n".encode("latin-1")
    (folder / "labels.csv").write_bytes(content)
    assert protect(folder, tmp_path / "out", *NOISE) == 0
    assert (tmp_path / "out/labels.csv").read_bytes() == content
    (folder / "split.csv").write_bytes("file,split\np0.png,tr\xe4in\n".encode("latin-1"))
    assert protect(folder, tmp_path / "again", *NOISE) == 3
    assert "is not text in UTF-8" in capsys.readouterr().err
