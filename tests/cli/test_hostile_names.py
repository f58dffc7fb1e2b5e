"""Data sets that somebody else made: whatever their tables, manifests and links say, nothing outside is read or written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from privmed.cli import run

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]


@pytest.fixture
def folder(phantoms, tmp_path):
    """A set, and a private one beside it that names in it point to."""
    phantoms(tmp_path / "private")
    return phantoms(tmp_path / "set")


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png") if p.is_file()}


def protect(source: Path, *more: str) -> int:
    return run(["protect", str(source), "-o", str(source.parent / "out"), *NOISE, *more])


@pytest.mark.parametrize("table", ["split.csv,split", "groups.csv,group", "labels.csv,label"])
@pytest.mark.parametrize("name", ["../../private/images/p0.png", "../images/p0.png", "{root}/private/images/p0.png"])
def test_a_table_that_leads_out_changes_nothing(folder, tmp_path, capsys, table, name):
    before, (file, column) = tree(tmp_path), table.split(",")
    name = name.format(root=tmp_path)
    (folder / file).write_text(f"file,{column}\np0.png,train\n{name},train\n")
    assert protect(folder) == 3
    said = capsys.readouterr().err
    assert repr(name) in said
    assert "must stay inside their folder" in said
    assert tree(tmp_path) == before


@pytest.mark.parametrize("part", ["images/p0.png", "masks/p0.png", "labels.csv"])
def test_a_link_that_leads_out_publishes_nothing(folder, tmp_path, capsys, part):
    (tmp_path / "private/labels.csv").write_text("file,label\nMary Miller,ill\n")
    (folder / part).unlink(missing_ok=True)
    (folder / part).symlink_to(tmp_path / "private" / part)
    assert protect(folder) == 3
    assert "leads out of" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.png"))
    assert not (tmp_path / "out/labels.csv").exists()


def test_a_class_folder_that_is_a_link_is_not_left_out_without_a_word(folder, tmp_path, capsys):
    root = tmp_path / "classes"
    (root / "a").mkdir(parents=True)
    shutil.copy(folder / "images/p0.png", root / "a")
    (root / "b").symlink_to(tmp_path / "private/images")
    assert protect(root) == 3
    assert "leads out of" in capsys.readouterr().err


def test_a_manifest_that_leads_out_is_not_gone_on_with(folder, tmp_path, capsys):
    assert protect(folder) == 0
    path = tmp_path / "out/manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "file": f"../private/{line['file']}"}) + "\n" for line in lines))
    before = tree(tmp_path)
    assert protect(folder, "--resume") == 3
    assert "leads upwards" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_a_recipe_does_not_name_a_run_out_of_the_way(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(
        "name: x/../../../OUTSIDE\ntask: hiding\nmethod: hider:lightih\ndata: {secrets: [{folder: s}]}\n"
    )
    assert run(["train", "r.yaml"]) == 2
    assert "name must be at most" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.parametrize("link", ["same", "soft", "hard"])
@pytest.mark.parametrize("command", ["hide", "analyze", "recover", "covert"])
def test_force_does_not_overwrite_an_input(tmp_path, capsys, command, link):
    source, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.new("RGB", (64, 64)).save(source)
    if command == "covert":
        (tmp_path / "folder").mkdir()
        out = tmp_path / "folder/stego.png"
    if link == "same":
        source = source.rename(out)
    elif link == "soft":
        out.symlink_to(source)
    else:
        out.hardlink_to(source)
    before = source.read_bytes()
    inputs = [str(source)] * (2 if command in ("hide", "covert") else 1)
    assert run([command, *inputs, "-o", str(out.parent if command == "covert" else out), "--force", "-q"]) == 2
    assert "is the input" in capsys.readouterr().err
    assert source.read_bytes() == before
