"""Every reader of names refuses a name that leads out of its folder: tables, manifests, keys, recipes."""

from __future__ import annotations

import csv
import json
import os

import pytest
import yaml

from privmed.data import release as layer
from privmed.data.folders import ImageFolder
from privmed.data.keyring import Keyring
from privmed.data.release import MANIFEST, Release
from privmed.data.tables import Table
from privmed.data.watermark import labels_of
from privmed.errors import InputError, OutputError, SettingsError
from privmed.training.recipe import read_recipe


@pytest.fixture
def folder(phantoms, tmp_path):
    return phantoms(tmp_path / "set")


def write_table(path, column, name) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([["file", column], ["p0.png", "train"], [name, "train"]])


def write_recipe(path, **changes):
    plain = {"name": "n", "task": "hiding", "method": "hider:lightih", "data": {"secrets": [{"folder": "busi"}]}}
    path.write_text(yaml.safe_dump(plain | changes), encoding="utf-8")
    return path


def from_split(folder, name):
    write_table(folder / "split.csv", "split", name)
    ImageFolder(folder, lenient=True).items()


def from_groups(folder, name):
    write_table(folder / "groups.csv", "group", name)
    ImageFolder(folder, lenient=True)


def from_labels(folder, name):
    write_table(folder / "labels.csv", "label", name)
    source = ImageFolder(folder, lenient=True)
    labels_of(source, source.items())


def from_manifest(folder, name):
    out = folder.parent / "out"
    out.mkdir()
    (out / MANIFEST).write_text(json.dumps({"file": name, "source_sha256": "", "sha256": ""}))
    Release(ImageFolder(folder), out, {}, resume=True)


def from_key(folder, name):
    Keyring([("St. Mary", [{"file": name, "record": {"marked": "m", "original": "o"}}])])


def from_recipe_name(folder, name):
    read_recipe(write_recipe(folder / "r.yaml", name=name))


def from_recipe_secrets(folder, name):
    read_recipe(write_recipe(folder / "r.yaml", data={"secrets": [{"folder": name}]}))


def from_recipe_covers(folder, name):
    read_recipe(write_recipe(folder / "r.yaml", data={"secrets": [{"folder": "busi"}], "covers": name}))


READERS = [from_split, from_groups, from_labels, from_manifest, from_key]
READERS += [from_recipe_name, from_recipe_secrets, from_recipe_covers]


@pytest.mark.parametrize("reader", READERS, ids=[r.__name__ for r in READERS])
def test_no_reader_believes_a_name(reader, folder, bad_name):
    with pytest.raises((InputError, SettingsError)):
        reader(folder, bad_name)


def test_tables_that_are_only_copied_are_read_all_the_same(folder, bad_name):
    if bad_name and bad_name.isprintable():  # a line without a name is none, and bytes that are no text are bytes
        write_table(folder / "labels.csv", "label", bad_name)
        with pytest.raises(InputError):
            Table(folder / "labels.csv")


def test_a_table_loses_the_line_of_what_was_left_out_however_it_is_written(folder, tmp_path):
    (folder / "labels.csv").write_text("file,label\n./p0.png,a\n.//p1.png,b\n")
    Table(folder / "labels.csv").copy(tmp_path / "out.csv", {"p0.png"}, tmp_path)
    assert (tmp_path / "out.csv").read_text() == "file,label\n.//p1.png,b\n"


@pytest.mark.parametrize("name", ["x/y", "x y", ".hidden", "-o", "é", "n" * 65, "CON:"])
def test_the_name_of_a_recipe_is_a_word(tmp_path, name):
    with pytest.raises(SettingsError, match="name must be at most 64 letters"):
        read_recipe(write_recipe(tmp_path / "r.yaml", name=name))


@pytest.mark.parametrize("name", ["general-1", "busi_v2.1", "n" * 64])
def test_ordinary_recipe_names_and_folders_are_taken(tmp_path, name):
    recipe = read_recipe(
        write_recipe(tmp_path / "r.yaml", name=name, data={"secrets": [{"folder": "sets/busi"}], "covers": "covers"})
    )
    assert recipe.name == name


def test_a_table_that_says_two_things_of_one_file_is_refused(folder):
    (folder / "split.csv").write_text("file,split\np0.png,train\n./p0.png,test\n")
    with pytest.raises(InputError, match=r"says of p0\.png that its split is 'train', and 'test'"):
        ImageFolder(folder)


def test_links_to_the_folder_and_its_parts_work(phantoms, tmp_path):
    pool = phantoms(tmp_path / "pool", split="train train test test")
    root = tmp_path / "set"
    root.mkdir()
    for part in ("images", "masks"):
        (root / part).symlink_to(pool / part)
    (tmp_path / "alias").symlink_to(root)
    assert len(ImageFolder(root).items()) == len(ImageFolder(tmp_path / "alias").items()) == 4
    for out in (pool, pool / "images", pool / "masks/out"):
        with pytest.raises(OutputError, match="originals must stay untouched"):
            Release(ImageFolder(root), out, {}, resume=True)


@pytest.mark.parametrize("part", ["images/p0.png", "masks/p0.png", "split.csv", "images/more"])
def test_a_link_that_leads_out_of_the_set_is_refused(phantoms, tmp_path, part):
    root, away = phantoms(tmp_path / "set"), phantoms(tmp_path / "private")
    path = root / part
    path.unlink(missing_ok=True)
    (away / "split.csv").write_text("file,split\np0.png,train\n")
    path.symlink_to(away / part if (away / part).exists() else away / "images")
    with pytest.raises(InputError, match="leads out of"):
        ImageFolder(root).items()


def test_a_mask_of_another_ending_is_no_way_out(folder, tmp_path):
    (tmp_path / "secret.bmp").write_bytes(b"secret")
    (folder / "masks/p0.png").unlink()
    (folder / "masks/p0.bmp").symlink_to(tmp_path / "secret.bmp")
    with pytest.raises(InputError, match="leads out of"):
        ImageFolder(folder).items()


def change(item, target):
    target.write_bytes(b"published")
    return {}


def test_a_release_that_is_gone_on_with_never_writes_through_links(folder, tmp_path):
    out, before = tmp_path / "out", {p: p.read_bytes() for p in folder.rglob("*.png")}
    out.mkdir()
    (out / "images").symlink_to(folder / "images")
    source = ImageFolder(folder)
    outcome = Release(source, out, {}, resume=True).run(source.items(), change)
    assert len(outcome.failed) == 4
    assert "leads out of" in outcome.failed[0][1]
    (out / "images").unlink()
    (out / "images").mkdir()
    for path in (folder / "images").iterdir():
        os.link(path, out / "images" / path.name)
    outcome = Release(source, out, {}, resume=True).run(source.items(), change)
    assert "is the input" in outcome.failed[0][1]
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("name", ["manifest.jsonl", "split.csv"])
def test_an_image_is_never_written_over_a_table(phantoms, tmp_path, name):
    root = tmp_path / "set"
    (phantoms(tmp_path / "other") / "images").rename(root)
    (root / "p0.png").rename(root / name)
    (root / "split.csv").write_text(f"file,split\n{name},train\np1.png,train\n")
    source = ImageFolder(root, lenient=True)
    outcome = Release(source, tmp_path / "out", {}).run(source.items(), change)
    assert [failed for failed, _ in outcome.failed] == [name]
    assert "would be written over" in outcome.failed[0][1]


def test_two_names_that_are_one_file_in_the_output_are_told(folder, tmp_path, monkeypatch):
    """As on a file system that does not tell a from A; staged, as this one does."""
    (folder / "images/p1.png").rename(folder / "images/P0.png")
    (folder / "masks/p1.png").rename(folder / "masks/P0.png")
    source = ImageFolder(folder)
    assert not Release(source, tmp_path / "a", {}).run(source.items(), change).failed
    monkeypatch.setattr(layer, "same_file", lambda a, b: str(a).casefold() == str(b).casefold())
    failed = Release(source, tmp_path / "b", {}).run(source.items(), change).failed
    assert [name for name, _ in failed] == ["images/p0.png"]
    assert "would be written over images/P0.png" in failed[0][1]
