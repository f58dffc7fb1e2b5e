"""``privmed protect`` on small folders: names, formats, depth and tags are kept, and every bad input is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from privmed.cli import run
from privmed.data.samples import ultrasound_phantom
from privmed.imaging import read

pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]
EPSILON = 4 / 255


@pytest.fixture
def folder(tmp_path):
    """Four pairs: 8-bit grey, 16-bit grey, RGB, and another size."""
    root = tmp_path / "set"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i, side in enumerate((64, 64, 64, 80)):
        image, mask = ultrasound_phantom(i, side=side)
        pixels = image[0, 0].numpy()
        stored = (pixels * 65535).round().astype(np.uint16) if i == 1 else (pixels * 255).round().astype(np.uint8)
        stored = np.stack([stored] * 3, 2) if i == 2 else stored
        (root / f"images/p{i}.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(stored)))
        Image.fromarray((mask[0, 0].numpy() * 255).astype(np.uint8)).save(root / f"masks/p{i}.png")
    (root / "split.csv").write_text(
        "file,split\n" + "".join(f"p{i}.png,{'test' if i == 3 else 'train'}\n" for i in range(4))
    )
    return root


def manifest(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def test_names_depth_and_masks_are_kept_and_the_bound_holds(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["protect", str(folder), "-o", str(out), *NOISE[:-1], "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 4
    for i in range(4):
        before, after = read(folder / f"images/p{i}.png"), read(out / f"images/p{i}.png")
        assert (before.bits, before.pixels.shape, before.pixels.dtype) == (
            after.bits,
            after.pixels.shape,
            after.pixels.dtype,
        )
        change = np.abs(after.pixels.astype(int) - before.pixels.astype(int)) / (2**before.bits - 1)
        assert 0 < change.max() <= EPSILON + 1e-9
        assert (folder / f"masks/p{i}.png").read_bytes() == (out / f"masks/p{i}.png").read_bytes()
    assert (out / "split.csv").read_bytes() == (folder / "split.csv").read_bytes()
    assert [line["file"] for line in manifest(out)] == [f"images/p{i}.png" for i in range(4)]
    assert all(line["psnr"] > 36 and line["config"]["where"] == "roi" for line in manifest(out))


def test_by_default_a_fixed_pattern_is_published_that_says_what_it_is(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["protect", str(folder), "-o", str(out)]) == 0
    assert "undoes it" in " ".join(capsys.readouterr().out.split())
    assert {line["protector"] for line in manifest(out)} == {"tint"}
    assert all("undoes it" in line["note"] for line in manifest(out))


def test_a_shortened_fit_says_so_in_result_and_manifest(folder, tmp_path, capsys):
    out, tiny = (
        tmp_path / "out",
        [f"{k}={v}" for k, v in {"quick": "true", "width": 1, "size": 32, "cycles": 1}.items()],
    )
    options = [x for setting in tiny for x in ("--set", setting)]
    assert run(["protect", str(folder), "-o", str(out), "--protector", "umed", *options, "--json"]) == 0
    assert "the fit is shortened: width 1 instead of 64" in json.loads(capsys.readouterr().out)["note"]
    for line in manifest(out):
        assert "cycles 1 instead of 100" in line["note"]
        assert (line["config"]["quick"], line["config"]["cycles"], line["config"]["batch"]) == (True, 1, 8)


def test_resumed_run_equals_an_uninterrupted_one(folder, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(["protect", str(folder), "-o", str(whole), *NOISE]) == 0
    shutil.copytree(whole, parts)
    (parts / "images/p2.png").unlink()  # as if it had been stopped before p2, in the middle of a line
    lines = (parts / "manifest.jsonl").read_text().splitlines()
    (parts / "manifest.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])
    assert run(["protect", str(folder), "-o", str(parts), *NOISE]) == 2  # not without --resume
    assert run(["protect", str(folder), "-o", str(parts), *NOISE, "--resume"]) == 0
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(parts) for p in parts.rglob("*") if p.is_file())
    assert all((whole / f).read_bytes() == (parts / f).read_bytes() for f in files)


def test_resume_with_other_settings_is_refused(folder, tmp_path, capsys):
    run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE])
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE, "--resume", "--epsilon", "0.02"]) == 2
    assert "was begun with" in capsys.readouterr().err


def test_fitted_protector_is_saved_and_used_on_images_that_arrive_later(folder, tmp_path):
    fitted, first, later = tmp_path / "fitted.safetensors", tmp_path / "first", tmp_path / "later"
    tiny = ["--protector", "tap", "--set", "width=2", "--set", "size=32", "--set", "epochs=1", "--set", "steps=3", "-q"]
    assert run(["protect", str(folder), "-o", str(first), *tiny, "--save", str(fitted)]) == 0
    assert (
        run(
            [
                "protect",
                str(folder),
                "-o",
                str(later),
                "--protector",
                "tap",
                "--load",
                str(fitted),
                "--split",
                "test",
                "-q",
            ]
        )
        == 0
    )
    assert [line["file"] for line in manifest(later)] == ["images/p3.png"]


def test_one_bad_image_does_not_stop_the_others(folder, tmp_path, capsys):
    path = folder / "images/p1.png"
    path.write_bytes(path.read_bytes()[:200])
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE[:-1]]) == 1
    said = capsys.readouterr().out
    assert "left out images/p1.png" in said
    assert "cut off" in said
    assert len(manifest(tmp_path / "out")) == 3
    assert not (tmp_path / "out/masks/p1.png").exists()
    assert run(["protect", str(folder), "-o", str(tmp_path / "strict"), *NOISE, "--strict"]) == 3


def spoil(root: Path, how: str) -> None:
    """Spoil the mask of p0."""
    path = root / "masks/p0.png"
    pixels = np.asarray(Image.open(path))
    if how == "missing":
        path.unlink()
    elif how == "another size":
        Image.fromarray(pixels[:50]).save(path)
    elif how == "empty":
        Image.fromarray(pixels * 0).save(path)
    else:
        Image.fromarray(np.where(pixels[:, :1] > 300, 0, pixels // 2 + np.arange(64, dtype=np.uint8))).save(path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "no such file"),
        ("another size", "64 x 50"),
        ("empty", "nothing to act on"),
        ("many values", "Threshold it"),
    ],
)
def test_bad_masks_are_named(folder, tmp_path, capsys, how, words):
    spoil(folder, how)
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE[:-1]]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "left out images/p0.png" in said
    assert words in said


def test_mask_that_is_all_lesion_is_taken(folder, tmp_path):
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "masks/p0.png")
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE]) == 0


@pytest.mark.parametrize("epsilon", ["0", "-0.1", "1.5", "four"])
def test_impossible_epsilon_is_refused(folder, tmp_path, capsys, epsilon):
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE, f"--epsilon={epsilon}"]) == 2
    assert "epsilon" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_input_folder_is_never_written_into(folder, capsys):
    for out in (folder, folder / "images", folder / "new", folder.parent):
        assert run(["protect", str(folder), "-o", str(out), *NOISE]) == 2
        assert "originals must stay untouched" in capsys.readouterr().err


def test_jpeg_is_refused_by_name(folder, tmp_path, capsys):
    Image.open(folder / "images/p0.png").save(folder / "images/p0.jpg")
    (folder / "images/p0.png").unlink()
    (folder / "split.csv").unlink()
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), *NOISE[:-1]]) == 1
    assert "is a JPEG" in " ".join(capsys.readouterr().out.split())


def test_classes_are_protected_too(folder, tmp_path):
    root = tmp_path / "classes"
    for i, name in enumerate(("benign", "malignant", "benign")):
        (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"images/p{i}.png", root / name / f"p{i}.png")
    assert run(["protect", str(root), "-o", str(tmp_path / "out"), "--protector", "lsp", "-q"]) == 0
    assert {line["file"] for line in manifest(tmp_path / "out")} == {
        "benign/p0.png",
        "malignant/p1.png",
        "benign/p2.png",
    }


@pytest.mark.parametrize(
    "words", [["umed"], ["tint"], ["noise", "--set", "where=roi"], ["em", "--set", "where=contour"]]
)
def test_a_protector_of_masks_refuses_classes_before_any_work(folder, tmp_path, capsys, words):
    """Once, for the whole set, with the names of those that take classes."""
    root = tmp_path / "classes"
    for i, name in enumerate(("benign", "malignant", "benign")):
        (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"images/p{i}.png", root / name / f"p{i}.png")
    assert run(["protect", str(root), "-o", str(tmp_path / "out"), "--protector", *words]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "has classes in place of masks, " in told
    if len(words) > 1:
        assert f"and {words[0]}, as it is set, keeps to regions of masks. Leave out --set where=..." in told
    else:
        named = told.split(f"which {words[0]} does not protect. Choose another --protector: ")[1]
        assert "lsp" in named
        assert "tint" not in named
    assert not (tmp_path / "out").exists()


def test_dicom_keeps_its_tags_and_the_bound_is_in_what_is_seen(tmp_path):
    """A signed 16-bit CT slice behind a window: epsilon is a part of the visible range."""
    pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
    from pydicom.data import get_testdata_file

    root, out = tmp_path / "set", tmp_path / "out"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    shutil.copy(get_testdata_file("CT_small.dcm", download=False), root / "images/ct.dcm")
    mask = np.zeros((128, 128), np.uint8)
    mask[40:90, 30:80] = 255
    (root / "masks/ct.png").write_bytes(imagecodecs.png_encode(mask))
    assert run(["protect", str(root), "-o", str(out), *NOISE]) == 0
    before, after = (pydicom.dcmread(d / "images/ct.dcm") for d in (root, out))
    assert after.ImageType[0] == "DERIVED"
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    made_new = {"ImageType", "SOPInstanceUID", "DerivationDescription", "SourceImageSequence", "PixelData"}
    made_new |= {"StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}
    assert all(after[tag].value != before[tag].value for tag in ("StudyInstanceUID", "FrameOfReferenceUID"))
    for element in before:
        if element.keyword not in made_new | {"SmallestImagePixelValue", "LargestImagePixelValue"}:
            assert after[element.tag].value == element.value, element.keyword
    views = [read(d / "images/ct.dcm").tensor()[0, 0].numpy() for d in (root, out)]
    change = np.abs(views[1] - views[0])
    assert 0 < change.max() <= EPSILON + 1e-6
    stored = [d.pixel_array.astype(int) for d in (before, after)]
    assert np.array_equal(stored[0][mask == 0], stored[1][mask == 0])


def test_a_setting_under_its_old_name_is_taken_and_said(folder, tmp_path, capsys):
    small = ["size=32", "width=2", "epochs=1", "steps=1", "rate=2e-3"]
    words = [word for text in small for word in ("--set", text)]
    assert run(["protect", str(folder), "-o", str(tmp_path / "out"), "--protector", "tap", "-q", *words]) == 0
    assert capsys.readouterr().err == "warning: the setting 'rate' is called 'learning_rate' now.\n"
    assert {line["config"]["learning_rate"] for line in manifest(tmp_path / "out")} == {2e-3}
