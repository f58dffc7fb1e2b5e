"""NIfTI volumes as slices: which ones, how they are seen, and what is wrong with a volume."""

import json
import sys

import numpy as np
import pytest
import torch

from privmed.bench.plan import make_plan
from privmed.bench.readers import read_dataset
from privmed.cli import run
from privmed.errors import InputError, MissingDependencyError, SettingsError

nibabel = pytest.importorskip("nibabel", reason="needs privmed[nifti]")
AXES = np.eye(4)


def save(path, values, affine=AXES):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(values, affine).to_filename(path)


@pytest.fixture
def volumes(tmp_path):
    """As the Decathlon publishes: imagesTr and labelsTr; labels 1 and 2 in slices 5 to 9 of 20."""
    root, rng = tmp_path / "Task04", np.random.default_rng(0)
    for n in range(5):
        truth = np.zeros((36, 40, 20), np.uint8)
        truth[10:20, 5:25, 5:10] = 1
        truth[10:20, 25:30, 5:8] = 2
        save(root / f"imagesTr/v{n}.nii.gz", (rng.normal(size=truth.shape) * 50 + 300.0 * truth).astype(np.float32))
        save(root / f"labelsTr/v{n}.nii.gz", truth)
    return root


def test_slices_that_hold_a_label_are_drawn_and_volumes_stay_whole(volumes):
    data = read_dataset(volumes)
    assert {s.name.split("/")[1] for s in data.samples} == {"0005", "0006", "0007", "0008", "0009"}
    assert len(data.part("test")) == 5
    assert len({s.group for s in data.part("test")}) == 1
    sample = data.samples[0]
    assert sample.image().shape == sample.mask().shape == (1, 1, 40, 36)
    assert sample.mask().sum() == 10 * 25
    assert sample.image()[sample.mask() > 0].mean() > sample.image()[sample.mask() == 0].mean() + 0.2


def test_labels_keep_their_numbers_for_who_outlines_several(volumes):
    sample = read_dataset(volumes).samples[0]
    found = sample.numbers(40, 3)
    assert found.shape == (1, 40, 40)
    assert found.unique().tolist() == [0, 1, 2]
    assert (found > 0).float().mean() == pytest.approx(float(sample.mask().mean()), abs=0.02)
    with pytest.raises(
        InputError, match=r"labelsTr/v0.nii.gz, slice 5: holds class 2, but mask_classes is 2 \(0 to 1\)"
    ):
        sample.numbers(40, 2)
    assert read_dataset(volumes, "nifti", {"label": 2}).samples[0].numbers is None  # one of them, against all else


def test_settings_choose_slices(volumes):
    def names(**settings):
        return [s.name for s in read_dataset(volumes, "nifti", settings).samples]

    assert len(names(per_volume=2)) == 10
    assert names(per_volume=2) == names(per_volume=2) != names(per_volume=2, seed=1)
    assert names(every=8, per_volume=0)[:4] == ["v0/0000", "v0/0008", "v0/0016", "v1/0000"]
    assert {name[-4:] for name in names(label=2)} == {"0005", "0006", "0007"}
    assert {int(name[-4:]) for name in names(axis=0, per_volume=0)} == set(range(10, 20))
    first = read_dataset(volumes, "nifti", {"label": 2}).samples[0]
    assert first.mask().sum() == 10 * 5


def test_a_volume_that_lies_otherwise_in_its_file_looks_the_same(volumes, tmp_path):
    image, label = (nibabel.load(volumes / f"{part}/v0.nii.gz") for part in ("imagesTr", "labelsTr"))
    turned = np.array(
        [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]
    )  # sagittal first, two axes backwards
    for part, volume in (("images", image), ("labels", label)):
        values = np.asarray(volume.dataobj).transpose(1, 2, 0)[::-1, ::-1]
        save(tmp_path / f"turned/{part}/v0.nii", values, turned)
    for settings in ({}, {"axis": 1, "every": 10}):
        straight = read_dataset(volumes, "nifti", settings).samples
        other = read_dataset(tmp_path / "turned", "nifti", settings).samples
        assert [s.name for s in other] == [s.name for s in straight if s.name.startswith("v0")]
        for a, b in zip(straight, other):
            assert torch.equal(a.image(), b.image())
            assert torch.equal(a.mask(), b.mask())


def test_tables_name_volumes(volumes):
    (volumes / "split.csv").write_text("file,split\nv0.nii.gz,test\nv1.nii.gz,train\nv2.nii.gz,train\n")
    data = read_dataset(volumes)
    assert {s.group for s in data.part("test")} == {"v0.nii.gz"}
    assert {s.group for s in data.samples} == {"v0.nii.gz", "v1.nii.gz", "v2.nii.gz"}


def test_one_volume_without_a_label(tmp_path):
    save(tmp_path / "a.nii.gz", np.full((40, 40, 10), 7, np.int16))
    samples = read_dataset(tmp_path / "a.nii.gz", "nifti", {"every": 5}).samples
    assert [s.name for s in samples] == ["a/0000", "a/0005"]
    assert samples[0].mask is None
    assert (samples[0].image() == 0).all()
    with pytest.raises(InputError, match=r"a\.nii\.gz: has no label to choose slices by; set every=n"):
        read_dataset(tmp_path / "a.nii.gz")


def test_channels_are_chosen_and_never_guessed(tmp_path):
    values = np.stack([np.zeros((36, 36, 4)), np.arange(36 * 36 * 4).reshape(36, 36, 4)], 3).astype(np.float32)
    save(tmp_path / "a.nii", values)
    with pytest.raises(InputError, match=r"a\.nii: is 36 x 36 x 4 x 2, .*Choose one of its 2 channels"):
        read_dataset(tmp_path / "a.nii", "nifti", {"every": 1})
    assert read_dataset(tmp_path / "a.nii", "nifti", {"every": 1, "channel": 1}).samples[1].image().std() > 0.1


def spoil(volumes, name, change):
    path = volumes / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: spoil(v, "labelsTr/v3.nii.gz", lambda b: b[:200]), r"v3\.nii\.gz: cannot be read as a NIfTI volume"),
        (lambda v: spoil(v, "imagesTr/v3.nii.gz", lambda b: b"x" * 99), r"v3\.nii\.gz: cannot be read as a NIfTI"),
        (
            lambda v: (v / "labelsTr/v3.nii.gz").unlink(),
            r"imagesTr/v3\.nii\.gz: has no label v3\.nii\.gz in .*labelsTr",
        ),
        (lambda v: save(v / "labelsTr/v3.nii.gz", np.ones((9, 9, 9), np.uint8)), r"the label is \(9, 9, 9\) voxels"),
        (lambda v: save(v / "imagesTr/v3.nii.gz", np.ones((9, 9), np.uint8)), r"v3\.nii\.gz: is 9 x 9, expected"),
    ],
)
def test_bad_volumes_are_named(volumes, change, words):
    change(volumes)
    with pytest.raises(InputError, match=words):
        read_dataset(volumes)


def test_a_volume_of_nothing_but_nan_is_told(tmp_path):
    save(tmp_path / "a.nii", np.full((36, 36, 3), np.nan, np.float32))
    with pytest.raises(InputError, match=r"a\.nii: the volume holds no finite number"):
        read_dataset(tmp_path / "a.nii", "nifti", {"every": 1}).samples[0].image()


def test_labels_that_are_nowhere_are_told(volumes):
    with pytest.raises(InputError, match="no slice holds the label; set every=n"):
        read_dataset(volumes, "nifti", {"label": 9})


def test_a_header_that_says_it_is_enormous_is_refused(volumes, monkeypatch):
    monkeypatch.setenv("PRIVMED_MAX_FILE_BYTES", "100_000")
    save(volumes / "imagesTr/v0.nii.gz", np.zeros((60, 60, 60), np.uint8))
    with pytest.raises(InputError, match=r"v0\.nii\.gz: has 60 x 60 x 60 voxels of 8 bytes, more than the limit"):
        read_dataset(volumes)


def test_a_missing_library_is_named_with_its_command(volumes, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingDependencyError, match=r"needs nibabel: pip install 'privmed\[nifti\]'"):
        read_dataset(volumes)


def test_a_plan_sets_the_reader(volumes, tmp_path, capsys):
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    plan = {
        "suite": "protection",
        "data": "Task04",
        "reader": "nifti",
        "reader_settings": {"per_volume": 1, "label": 1},
        "entries": [{"label": "unprotected"}],
        "settings": {"size": 32, "protocol": {"epochs": 1, "width": 2, "batch": 4}},
    }
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    arguments = ["bench", "run", str(tmp_path / "plan.yaml"), "--data", str(tmp_path), "-o", str(tmp_path / "out")]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"]
    (tmp_path / "plan.yaml").write_text(json.dumps(plan | {"reader_settings": {"every_": 1}}))
    assert run(arguments) == 2
    assert "every_" in capsys.readouterr().err
    assert make_plan(plan).reader_settings == {"per_volume": 1, "label": 1}


def test_settings_without_a_reader_are_told(volumes):
    with pytest.raises(SettingsError, match="no reader was named"):
        read_dataset(volumes, "", {"every": 1})
