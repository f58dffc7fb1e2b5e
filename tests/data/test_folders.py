"""Data-set folders: splits, groups, and what is wrong with them."""

import pytest
from PIL import Image

from privmed.data.augment import augment, recolour
from privmed.data.folders import ImageFolder, cut_validation
from privmed.data.samples import skin_phantom, ultrasound_phantom
from privmed.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for i in range(6):
            Image.new("L", (40, 40)).save(tmp_path / part / f"{i}.png")
    return tmp_path


def test_splits_and_groups_come_from_tables(folder):
    (folder / "split.csv").write_text(
        "file,split\n" + "".join(f"{i}.png,{'test' if i > 3 else 'train'}\n" for i in range(6))
    )
    (folder / "groups.csv").write_text("file,group\n0.png,a\n1.png,a\n")
    data = ImageFolder(folder)
    assert [i.image.name for i in data.items("test")] == ["4.png", "5.png"]
    train = data.items("train")
    assert train[0].group == train[1].group == "a" != train[2].group
    assert all(f.parent.name == "masks" for i in train for f in i.mask.files)


def test_what_a_table_calls_val_is_for_training_and_other_parts_are_left_out(folder):
    """As with folders ``train/``, ``val/`` and ``test/``."""
    parts = ["train", "val", "Validation", "TEST ", "external", "test"]
    (folder / "split.csv").write_text("file,split\n" + "".join(f"{i}.png,{part}\n" for i, part in enumerate(parts)))
    data = ImageFolder(folder)
    assert [i.image.stem for i in data.items("train")] == ["0", "1", "2"]
    assert [i.image.stem for i in data.items("test")] == ["3", "5"]
    assert len(data.items()) == 6


def test_classes_are_sub_folders(tmp_path):
    for name in ("benign", "malignant"):
        (tmp_path / name).mkdir()
        Image.new("L", (40, 40)).save(tmp_path / name / "x.png")
    assert [i.label for i in ImageFolder(tmp_path).items()] == ["benign", "malignant"]


def test_validation_never_tears_a_group_apart(folder):
    (folder / "groups.csv").write_text("file,group\n" + "".join(f"{i}.png,{i // 2}\n" for i in range(6)))
    items = ImageFolder(folder).items()
    for seed in range(20):
        training, held = cut_validation(items, 0.5, seed)
        assert sorted(training + held) == sorted(items)
        assert not {i.group for i in training} & {i.group for i in held}


def test_a_missing_mask_is_named(folder):
    (folder / "masks" / "3.png").unlink()
    with pytest.raises(InputError, match=r"masks/3\.png is missing"):
        ImageFolder(folder).items()


def test_empty_and_missing_folders_are_told(tmp_path):
    with pytest.raises(InputError, match="no pictures"):
        ImageFolder(tmp_path).items()
    with pytest.raises(InputError, match="no such folder"):
        ImageFolder(tmp_path / "nowhere")


def test_augmentation_moves_image_and_mask_together():
    import torch

    masks = torch.zeros(4, 1, 64, 64)
    masks[..., 20:44, 16:40] = 1
    images, moved = augment(masks.expand(-1, 3, -1, -1) * 0.5 + 0.25, masks, torch.Generator().manual_seed(0))
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    for image, mask, before in zip(images.mean(1), moved[:, 0], masks[:, 0]):
        seen = image > (image.min() + image.max()) / 2
        assert (seen == mask.bool()).float().mean() > 0.99
        assert (mask != before).float().mean() > 0.02
    again = augment(masks.expand(-1, 3, -1, -1) * 0.5 + 0.25, masks, torch.Generator().manual_seed(0))
    assert torch.equal(images, again[0])


def test_recolouring_changes_the_share_asked_for():
    import numpy as np
    import torch

    images = torch.rand(200, 3, 32, 32)
    changed = recolour(images, 0.3, np.random.default_rng(0))
    share = (changed != images).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert recolour(images, 0.0, np.random.default_rng(0)) is images


@pytest.mark.parametrize("make", [ultrasound_phantom, skin_phantom])
def test_phantoms_have_a_lesion_and_are_reproducible(make):
    image, mask = make(1)
    assert image.min() >= 0
    assert image.max() <= 1
    assert 0.03 < mask.mean() < 0.4
    assert (make(1)[0] == image).all()
    assert (make(2)[0] != image).any()
    inside, outside = image.mean(1)[mask[:, 0] > 0].mean(), image.mean(1)[mask[:, 0] == 0].mean()
    assert inside < outside - 0.1
