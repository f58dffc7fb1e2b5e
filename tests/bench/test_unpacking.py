"""Data sets of any reader as folders: what training then sees is what comparisons see."""

import errno
import json

import numpy as np
import pytest
import torch
from PIL import Image

from privmed.bench import unpacking
from privmed.bench.data import Dataset, Sample, truth
from privmed.bench.readers import read_dataset
from privmed.bench.unpacking import unpack
from privmed.cli import run
from privmed.data.folders import ImageFolder
from privmed.errors import InputError, OutputError
from privmed.imaging.wire import to_bytes

RNG = np.random.default_rng(0)


def archive(path, **more):
    arrays = {
        f"{part}_{what}": RNG.integers(0, 256, (n, 40, 36), np.uint8) if what == "images" else np.arange(n)[:, None] % 2
        for part, n in (("train", 6), ("val", 2), ("test", 4))
        for what in ("images", "labels")
    }
    np.savez(path / "some.npz", **{**arrays, **more})
    return path / "some.npz"


def sample(name, value=0, **about):
    return Sample(name=name, image=lambda: torch.full((1, 1, 32, 32), value / 255), **about)


def test_classes_become_folders_with_the_split_of_the_archive(tmp_path, capsys):
    source = archive(tmp_path)
    run(["bench", "unpack", str(source), "-o", str(tmp_path / "out"), "--json", "-q"])
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["train"], told["test"], told["masks"], told["classes"]) == (
        12,
        8,
        4,
        False,
        ["0", "1"],
    )
    data, folder = read_dataset(source), ImageFolder(tmp_path / "out")
    for part in ("train", "test"):
        items = {i.image.relative_to(folder.root).as_posix(): i for i in folder.items(part)}
        assert len(items) == len(data.part(part))
        for s in data.part(part):
            item = items[f"{s.label}/{s.name.replace('/', '-')}.png"]
            assert item.label == s.label
            assert (np.array(Image.open(item.image)) == to_bytes(s.image())).all()


def test_masks_and_groups_and_the_drawn_split_stay(tmp_path):
    masks = [(torch.arange(32) < n).float().expand(1, 1, 32, 32) for n in range(1, 7)]
    made = [
        sample(f"volume{n // 2}/{n:04d}", n, mask=lambda m=m: m, group=f"volume{n // 2}", label="abc"[n // 2])
        for n, m in enumerate(masks)
    ]
    data = Dataset("volumes", made)
    told = unpack(data, tmp_path / "out")
    assert (told.masks, told.classes) == (True, ["a", "b", "c"])
    folder = ImageFolder(tmp_path / "out")
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        "images",
        "masks",
        "split.csv",
        "groups.csv",
        "labels.csv",
    }
    for part in ("train", "test"):
        seen = read_dataset(tmp_path / "out").part(part)
        assert [s.group for s in seen] == [s.group for s in data.part(part)]
        assert all(torch.equal(truth(a, 32), truth(b, 32)) for a, b in zip(seen, data.part(part)))
    assert folder.table("labels.csv", "label")["volume0-0001.png"] == "a"


def test_maps_of_classes_stay_as_they_are(tmp_path):
    plane = torch.arange(40).remainder(3).expand(1, 48, 40).float()

    def numbers(size, classes):
        assert (size, classes) == (None, 3)
        return plane

    made = [sample(str(n), mask=lambda: (plane > 0)[None].float(), numbers=numbers) for n in range(4)]
    unpack(Dataset("set", made), tmp_path / "out", classes=3)
    seen = read_dataset(tmp_path / "out", "folder", {"masks": "masks-multi"}).samples[0]
    assert torch.equal(seen.numbers(None, 3), plane)
    with pytest.raises(InputError, match="has no maps of classes"):
        unpack(
            Dataset("set", [sample("a", mask=lambda: plane[None]), sample("b", mask=lambda: plane[None])]),
            tmp_path / "no",
            classes=3,
        )
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([sample("a", label="x"), sample("b")], "1 of its 2 images have a label, expected all or none"),
        ([sample("a/1", label="x"), sample("a-1", label="x")], "two of its images would be called x/a-1.png"),
        ([sample("a", label="../x"), sample("b", label="y")], "leads upwards"),
        ([sample("../a"), sample("b")], "leads upwards"),
        ([sample("a", label="x/y"), sample("b", label="y")], "the class x/y has a slash"),
        ([sample("a", label="images"), sample("b", label="other")], "mean something else in a folder"),
        ([sample("a", label="train"), sample("b", label="test")], "mean something else in a folder"),
        ([sample("x"), sample("x_mask"), sample("y")], "mean something else in a folder"),
        ([sample("A"), sample("a")], "two of its images would be called A.png"),
    ],
)
def test_what_a_folder_cannot_hold_is_told_and_leaves_nothing(tmp_path, samples, words):
    with pytest.raises(InputError, match=words):
        unpack(Dataset("set", samples), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_names_with_dots_and_of_any_script_and_small_colour_images(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["1.2.840.5", "1.2.840.6", "größe.png", "p1.s1", "z"]
    pixels = torch.rand(1, 3, 20, 40, generator=torch.Generator().manual_seed(0))
    told = unpack(Dataset("set", [Sample(name=n, image=lambda: pixels) for n in names]), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {f"{n.removesuffix('.png')}.png" for n in names}
    assert (np.array(Image.open(tmp_path / "out/z.png")) == to_bytes(pixels)).all()
    assert (told.masks, told.classes, told.small) == (False, [], 5)
    run(["bench", "unpack", str(archive(tmp_path, train_images=RNG.integers(0, 9, (6, 28, 28), np.uint8))), "-o", "o"])
    assert "6 of them have a side below 32 pixels" in capsys.readouterr().out


def test_the_set_itself_is_no_place_for_the_folder(tmp_path):
    made = [sample(str(n), label="ab"[n % 2]) for n in range(8)]
    unpack(Dataset("set", made), tmp_path / "one")
    with pytest.raises(OutputError, match="lies in the data set"):
        unpack(read_dataset(tmp_path / "one"), tmp_path / "one/two")


def test_a_full_disk_leaves_nothing_and_files_that_are_there_stay(tmp_path, monkeypatch):
    data = Dataset("set", [sample(str(n)) for n in range(4)])
    (tmp_path / "there").mkdir()
    (tmp_path / "there/split.csv").write_text("mine")
    with pytest.raises(OutputError, match="there: is not empty"):
        unpack(data, tmp_path / "there")
    assert (tmp_path / "there/split.csv").read_text() == "mine"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "encode_png", full)
    with pytest.raises(OutputError, match="No space left"):
        unpack(data, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
