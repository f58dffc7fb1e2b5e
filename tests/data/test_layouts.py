"""Data sets as they are published: which files are images, which their truth, and which part is for testing."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from privmed.bench.readers import read_dataset
from privmed.cli import run
from privmed.data.folders import ImageFolder, cut_validation
from privmed.data.masks import Mask, foreground, read_mask
from privmed.data.split import Key, draw_split
from privmed.errors import InputError


def test_the_split_is_two_tenths_of_every_class_and_the_same_in_any_order():
    keys = [Key(f"{label}{n}", label) for label, count in (("a", 100), ("b", 50), ("c", 11)) for n in range(count)]
    parts = dict(zip(keys, draw_split(keys)))
    share = {c: sum(p == "test" for k, p in parts.items() if k.label == c) for c in "abc"}
    assert share == {"a": 20, "b": 10, "c": 2}
    assert dict(zip(keys[::-1], draw_split(keys[::-1]))) == parts
    assert dict(zip(keys, draw_split(keys, seed=1))) != parts


def test_the_split_keeps_groups_together():
    rng = np.random.default_rng(0)
    keys = [Key(f"g{g}", "ab"[int(rng.integers(2))]) for g in range(40) for _ in range(int(rng.integers(1, 8)))]
    sides = {}
    for key, part in zip(keys, draw_split(keys)):
        sides.setdefault(key.group, set()).add(part)
    assert all(len(some) == 1 for some in sides.values())
    assert 0.15 < draw_split(keys).count("test") / len(keys) < 0.25


@pytest.mark.parametrize(("groups", "test"), [("a", 0), ("ab", 1), ("abc", 1), ("aaab", 1), ("abcde", 1)])
def test_small_sets_have_both_parts_where_there_are_two_groups(groups, test):
    assert draw_split([Key(g) for g in groups]).count("test") == test


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def square(top, value=255):
    plane = np.zeros((48, 64))
    plane[top : top + 20, 10:30] = value
    return plane


@pytest.fixture
def busi(tmp_path):
    """BUSI as it is published: names with blanks, a mask or two beside each image, black masks of normal images."""
    root = tmp_path / "Dataset_BUSI_with_GT"
    rng = np.random.default_rng(0)
    for label in ("benign", "malignant", "normal"):
        for n in range(1, 6):
            write(root / label / f"{label} ({n}).png", rng.integers(40, 200, (48, 64, 3)))
            write(root / label / f"{label} ({n})_mask.png", square(5) * (label != "normal"))
    write(root / "benign/benign (4)_mask_1.png", square(25))
    return root


def test_busi_as_published(busi):
    data = read_dataset(busi)
    found = {s.name: s for s in data.samples}
    assert len(found) == 15
    assert found["benign/benign (4).png"].mask().sum() == 2 * 20 * 20
    assert found["benign/benign (3).png"].mask().sum() == 20 * 20
    assert found["normal/normal (1).png"].mask().sum() == 0
    assert [sum(s.label == c for s in data.part("test")) for c in ("benign", "malignant", "normal")] == [1, 1, 1]


def test_training_and_protecting_see_the_same_parts_as_comparing(busi):
    folder, test = ImageFolder(busi), [i.image.name for i in ImageFolder(busi).items("test")]
    for part in ("train", "test"):
        there = [i.image.relative_to(busi).as_posix() for i in folder.items(part)]
        assert there == [s.name for s in read_dataset(busi).part(part)]
    moved = busi.rename(busi.with_name("another"))
    assert [i.image.name for i in ImageFolder(moved).items("test")] == test


def test_a_drawn_split_leaves_images_to_validate_on(busi):
    """Both are drawn by a hash of the same names; equal hashes would put all of the one into the other."""
    for n in range(60):
        shutil.copy(busi / "benign/benign (1).png", busi / f"benign/more {n}.png")
    names = [f"benign/more {n}.png" for n in range(60)]
    (busi / "groups.csv").write_text("file,group\n" + "".join(f"{name},{name}\n" for name in names))
    training, held = cut_validation(ImageFolder(busi).items("train"), 0.2)
    assert 4 < sum("more" in i.image.name for i in held) < len(training)


def test_groups_stay_on_one_side_of_a_drawn_split(busi):
    lines = [f"{c}/{c} ({n}).png,{c} {n % 2}" for c in ("benign", "malignant") for n in range(1, 6)]
    (busi / "groups.csv").write_text("file,group\n" + "\n".join(lines) + "\n")
    sides = {}
    for sample in read_dataset(busi).samples:
        sides.setdefault(sample.group, set()).add(sample.split)
    assert len(sides) == 9
    assert all(len(some) == 1 for some in sides.values())


def test_busi_is_protected_as_it_is_published(busi, tmp_path, capsys):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    out = tmp_path / "out"
    assert run(["protect", str(busi), "-o", str(out), "--protector", "noise", "--split", "train", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["images"] == 12
    assert "has no split.csv" in told.err
    images = {p.name for p in out.rglob("*.png") if "_mask" not in p.name}
    assert images == {i.image.name for i in ImageFolder(busi).items("train")}
    for name in images:
        for mask in (p.name for p in busi.rglob("*_mask*.png") if p.name.startswith(name[:-4])):
            assert [p.read_bytes() for p in out.rglob(mask)] == [p.read_bytes() for p in busi.rglob(mask)]


def test_an_image_whose_mask_is_missing_is_named(busi, tmp_path, capsys):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    (busi / "benign/benign (2)_mask.png").unlink()
    assert run(["protect", str(busi), "-o", str(tmp_path / "out"), "--protector", "noise"]) == 1
    assert "benign (2).png: has no mask" in capsys.readouterr().out


def test_a_mask_without_its_image_is_a_stray(busi):
    (busi / "benign/benign (2).png").unlink()
    folder = ImageFolder(busi)
    assert [p.name for p in folder.strays()] == ["benign (2)_mask.png"]
    assert len(folder.items()) == 14


def test_masks_of_an_image_that_differ_in_size_are_told(busi):
    write(busi / "benign/benign (1)_mask_1.png", square(5)[:, :40])
    sample = next(s for s in read_dataset(busi).samples if s.name == "benign/benign (1).png")
    with pytest.raises(InputError, match=r"benign \(1\)_mask.png: the 2 masks of this image differ in size"):
        sample.mask()


def test_the_reader_busi_refuses_other_folders(phantoms, tmp_path):
    root = phantoms(tmp_path / "set")
    with pytest.raises(InputError, match=r"set: no picture NAME\.png has its mask NAME_mask\.png beside it"):
        read_dataset(root, "busi")


def test_kvasir_as_published(tmp_path):
    """JPEG masks whose values are only nearly 0 and 255."""
    root, rng = tmp_path / "Kvasir-SEG", np.random.default_rng(0)
    for n in range(5):
        write(root / f"images/k{n}.jpg", rng.integers(0, 255, (48, 64, 3)))
        write(root / f"masks/k{n}.jpg", np.stack([square(8)] * 3, 2), quality=75)
    (root / "kavsir_bboxes.json").write_text("{}")
    stored = np.array(Image.open(root / "masks/k0.jpg"))
    assert len(np.unique(stored)) > 2
    data = read_dataset(root)
    assert len(data.samples) == 5
    assert (data.samples[0].mask()[0, 0].numpy() == square(8, 1)).all()
    assert (read_mask(ImageFolder(root).items()[0].mask, (48, 64)) == data.samples[0].mask()).all()


def test_a_black_jpeg_mask_is_empty(tmp_path):
    write(tmp_path / "m.jpg", np.random.default_rng(0).integers(0, 4, (48, 64)))
    assert foreground(Mask((tmp_path / "m.jpg",))).sum() == 0


def test_a_grey_jpeg_is_no_mask(tmp_path):
    write(tmp_path / "m.jpg", np.random.default_rng(0).integers(0, 255, (48, 64)))
    with pytest.raises(InputError, match=r"m\.jpg: .*% of the mask are neither dark nor bright"):
        read_mask(Mask((tmp_path / "m.jpg",)), (48, 64))


def test_folders_train_val_and_test_are_a_split(tmp_path):
    for name in ("train/a/1", "train/b/2", "val/a/3", "test/a/4", "test/b/5"):
        write(tmp_path / f"{name}.png", square(5))
    data = read_dataset(tmp_path)
    assert {s.name[:-4]: (s.split, s.label) for s in data.samples} == {
        "train/a/1": ("train", "a"),
        "train/b/2": ("train", "b"),
        "val/a/3": ("train", "a"),
        "test/a/4": ("test", "a"),
        "test/b/5": ("test", "b"),
    }


def test_classes_that_are_called_like_a_part_stay_classes(tmp_path):
    for name in ("test/1", "control/2"):
        write(tmp_path / f"{name}.png", square(5))
    assert {i.label for i in ImageFolder(tmp_path).items()} == {"test", "control"}


def test_volumes_are_told_from_nothing(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(
        InputError, match="no pictures, but NIfTI volumes, which privmed bench unpack writes as a folder"
    ):
        ImageFolder(tmp_path).items()


def test_an_archive_in_place_of_a_folder_is_told_with_the_way_out(tmp_path):
    (tmp_path / "some.npz").touch()
    with pytest.raises(
        InputError, match=r"some\.npz: an \.npz archive, which privmed bench unpack writes as a folder\."
    ):
        ImageFolder(tmp_path / "some.npz")
