"""MedMNIST's archives, and what is none."""

import numpy as np
import pytest

from privmed.bench.readers import read_dataset
from privmed.errors import InputError

IMAGES, LABELS = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28), np.arange(4)[:, None]


def save(path, **arrays):
    np.savez(path / "m.npz", **arrays)
    return path / "m.npz"


def test_medmnist_archives(tmp_path):
    colour = np.stack([IMAGES, IMAGES + 1, IMAGES + 2], 3)
    data = read_dataset(
        save(
            tmp_path,
            train_images=IMAGES,
            train_labels=LABELS,
            val_images=IMAGES,
            test_images=colour,
            test_labels=LABELS,
        )
    )
    assert [s.label for s in data.part("test")] == ["0", "1", "2", "3"]
    assert [s.name for s in data.part("train")][3:5] == ["train/3", "val/0"]
    assert data.part("train")[4].label is None
    assert (data.part("train")[1].image()[0, 0] * 255 == data.part("test")[1].image()[0, 0] * 255).all()
    assert data.part("test")[0].image().shape == (1, 3, 28, 28)


def test_several_labels_of_an_image_are_one_class(tmp_path):
    both = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])
    data = read_dataset(save(tmp_path, train_images=IMAGES, train_labels=both, test_images=IMAGES, test_labels=both))
    assert [s.label for s in data.part("train")] == ["0-1", "1-1", "0-0", "1-0"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": IMAGES}, "holds no train_images, val_images or test_images"),
        ({"train_images": IMAGES[..., None].repeat(28, 3)}, r"of shape \(4, 28, 28, 28\), expected uint8"),
        ({"train_images": IMAGES / 255.0}, "train_images are float64"),
        ({"train_images": IMAGES, "train_labels": LABELS[:3]}, "has 4 train_images, but 3 train_labels"),
        ({"train_images": np.array([object()])}, "cannot be read as an npz archive"),
    ],
)
def test_other_archives_are_told(tmp_path, arrays, words):
    path = tmp_path / "m.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=rf"m\.npz: .*{words}|m\.npz: {words}"):
        read_dataset(path)


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b"no archive", lambda b: b[: len(b) // 2]])
def test_damaged_archives_are_told(tmp_path, spoil):
    path = save(tmp_path, train_images=IMAGES)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=r"m\.npz: cannot be read as an npz archive"):
        read_dataset(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVMED_MAX_FILE_BYTES", "5000")
    np.savez_compressed(tmp_path / "m.npz", train_images=np.zeros((100, 28, 28), np.uint8))
    with pytest.raises(InputError, match=r"m\.npz: unpacks to more than the limit of 5,000"):
        read_dataset(tmp_path / "m.npz")
