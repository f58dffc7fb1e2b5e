"""``privmed protect`` and ``watermark`` on a tree of DICOM studies: what is changed, what is left, and who everything says it is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")

sys.path.insert(0, str(Path(__file__).parent))
from studytree import (  # noqa: E402
    CLIP,
    CTS,
    INDEX,
    NAME,
    NOTE,
    REPORT,
    SCAN,
    SLICES,
    UIDS,
    bad_mask,
    dicom_mask,
    lines,
    protect,
    study_tree,
    told,
    tree,
    words,
)

from privmed.cli import run  # noqa: E402
from privmed.data.studies import StudyFolder  # noqa: E402
from privmed.data.workplace import work_of  # noqa: E402


@pytest.fixture
def study(tmp_path):
    return study_tree(tmp_path / "set")


def test_images_are_told_by_content_and_the_rest_is_listed_with_its_reason(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert protect(study, out, "--json") == 1  # the clip
    summary = told(capsys)
    assert sorted(lines(out)) == sorted([*CTS, SCAN])
    assert [f["file"] for f in summary["failed"]] == [CLIP]
    assert "has 2 frames" in summary["failed"][0]["reason"]
    left = {line["file"]: line["reason"] for line in summary["left"]}
    assert left.keys() == {INDEX, NOTE, REPORT}
    assert "DICOMDIR" in left[INDEX]
    assert "Basic Text SR Storage" in left[REPORT]
    assert left[NOTE] == "is no picture"
    assert summary["copied"] == []
    masks = {name for name in tree(study) if name.startswith("masks/")}
    assert tree(out).keys() == {*CTS, SCAN, *masks, "manifest.jsonl"}
    log = [json.loads(line) for line in (work_of(out) / "run.jsonl").read_text().splitlines()]
    assert {line["id"] for line in log if line.get("state") == "left"} == left.keys()


def test_masks_are_paired_by_the_whole_name(study):
    """The last number of a UID is no ending."""
    items = {item.image.relative_to(study).as_posix(): item for item in StudyFolder(study, lenient=True).items()}
    for name in CTS:
        assert [p.name for p in items[name].mask.files] == [f"{Path(name).name}.png"]
    assert StudyFolder(study, lenient=True).strays() == []


def test_references_hold_in_the_copy_and_nothing_is_called_as_before(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert protect(study, out, "--copy-rest", "--json") == 0
    summary = told(capsys)
    assert {line["file"] for line in summary["copied"]} == {CLIP, NOTE, REPORT}
    assert [line["file"] for line in summary["left"]] == [INDEX]
    new = {name: pydicom.dcmread(out / name) for name in (*CTS, SCAN, CLIP, REPORT)}
    for tag, some in (("StudyInstanceUID", new), ("SeriesInstanceUID", new), ("FrameOfReferenceUID", CTS)):
        assert len({new[name][tag].value for name in some}) == 1
    for ds in new.values():
        assert ds.StudyInstanceUID not in UIDS
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.PatientName == NAME  # not asked for
    slices = [new[name].SOPInstanceUID for name in CTS]
    assert [new[name].ReferencedImageSequence[0].ReferencedSOPInstanceUID for name in CTS] == [slices[0]] * 2
    evidence = new[REPORT].CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == new[CTS[0]].StudyInstanceUID
    named = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in named] == slices
    assert [new[n].SourceImageSequence[0].ReferencedSOPInstanceUID for n in CTS] == list(SLICES)  # the originals


def test_what_is_copied_keeps_its_pixels_and_says_that_it_is_not_protected(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert protect(study, out, "--copy-rest", "-q") == 0
    said = capsys.readouterr().err
    assert "unprotected: 3, the first of them" in said
    assert pydicom.dcmread(out / CLIP).PixelData == pydicom.dcmread(study / CLIP).PixelData
    assert (out / NOTE).read_bytes() == (study / NOTE).read_bytes()
    assert "frames" in lines(out)[CLIP]["copied"]
    assert str(tmp_path) not in (out / "manifest.jsonl").read_text()
    assert lines(out).keys() == {*CTS, SCAN, CLIP, NOTE, REPORT}
    before = tree(out)
    assert protect(study, out, "--copy-rest", "--resume", "-q") == 0
    assert tree(out) == before
    capsys.readouterr()
    assert protect(study, out, "--resume", "-q") == 2  # would leave copies behind
    assert "was begun with --copy-rest. Go on" in capsys.readouterr().err


def test_what_was_copied_is_protected_when_it_can_be(study, tmp_path):
    mask = study / f"masks/jane/ct/{SLICES[0]}.png"
    held, out = mask.read_bytes(), tmp_path / "out"
    mask.unlink()
    assert protect(study, out, "--copy-rest", "-q") == 0
    assert "copied" in lines(out)[CTS[0]]
    assert pydicom.dcmread(out / CTS[0]).PixelData == pydicom.dcmread(study / CTS[0]).PixelData
    mask.write_bytes(held)
    assert protect(study, out, "--copy-rest", "--resume", "-q") == 0
    assert "copied" not in lines(out)[CTS[0]]
    assert pydicom.dcmread(out / CTS[0]).PixelData != pydicom.dcmread(study / CTS[0]).PixelData


def test_names_in_the_pixels_are_warned_of(study, tmp_path, capsys):
    assert protect(study, tmp_path / "out", "--copy-rest", "--json") == 0
    said = capsys.readouterr()
    burnt = {line["file"]: line["reason"] for line in json.loads(said.out)["burnt_in"]}
    assert burnt == {SCAN: "ultrasound without BurnedInAnnotation", CLIP: "BurnedInAnnotation is YES"}
    assert "their pixels or texts may hold names: 2, the first" in said.err
    ds = pydicom.dcmread(study / SCAN)
    ds.BurnedInAnnotation = "NO"
    ds.save_as(study / SCAN)
    assert protect(study, tmp_path / "two", "--json") == 1
    assert told(capsys)["burnt_in"] == []


@pytest.mark.parametrize("more", [["--workers", "2"], ["--shard"]])
def test_workers_and_shards_give_the_same_identities(study, tmp_path, capsys, more):
    one, two = tmp_path / "one", tmp_path / "two"
    assert protect(study, one, "--copy-rest", "-q") == 0
    if more == ["--shard"]:
        assert [protect(study, two, "--copy-rest", "-q", "--shard", f"{n}/2") for n in (2, 1)] == [0, 0]
        assert run(["jobs", "merge", str(two), "-q"]) == 0
    else:
        assert protect(study, two, "--copy-rest", "-q", *more) == 0
    assert tree(one) == tree(two)


def test_a_dicom_mask_is_of_the_set_too(study, tmp_path):
    (study / f"masks/jane/ct/{SLICES[0]}.png").unlink()
    dicom_mask(study / f"masks/jane/ct/{SLICES[0]}.dcm", SLICES[0])
    out = tmp_path / "out"
    assert protect(study, out, "--copy-rest", "-q") == 0
    mask, scan = pydicom.dcmread(out / f"masks/jane/ct/{SLICES[0]}.dcm"), pydicom.dcmread(out / CTS[0])
    assert mask.SourceImageSequence[0].ReferencedSOPInstanceUID == scan.SOPInstanceUID
    assert lines(out)[f"masks/jane/ct/{SLICES[0]}.dcm"]["copied"] == "is a mask"


def test_shards_that_were_killed_before_their_masks_are_not_whole(study, tmp_path, monkeypatch, capsys):
    from privmed.cli import studies as module

    (study / CLIP).unlink()
    mask = bad_mask(study, "a date")
    dicom_mask(study / mask, SLICES[0])

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module.Studies, "carry", kill)
        for n in (1, 2):
            assert protect(study, tmp_path / "out", "-q", "--shard", f"{n}/2") == 130
    capsys.readouterr()
    assert run(["jobs", "merge", str(tmp_path / "out"), "--json"]) == 1
    assert told(capsys)["missing"] == [mask]


@pytest.mark.parametrize("identities", [True, False])
def test_a_release_of_other_identities_copies_no_dicom_mask(study, tmp_path, identities):
    from privmed.data.release import Release

    (study / CLIP).unlink()
    bad, out = bad_mask(study, "a date"), tmp_path / "out"
    source = StudyFolder(study, lenient=True)
    with Release(source, out, {}, identities=identities) as release:
        release.run(source.items(), lambda item, draft: {"size": draft.write_bytes(b"x")})
        release.finish(source.items(), [])
    assert (out / bad).exists() != identities
    assert (out / f"masks/jane/ct/{SLICES[1]}.png").exists()


def test_a_copy_that_failed_holds_up_no_merge(study, tmp_path, capsys):
    (study / CLIP).unlink()
    (study / "images/gone").symlink_to("nowhere")
    one, two = tmp_path / "one", tmp_path / "two"
    assert protect(study, one, "--copy-rest", "-q") == 0
    assert [protect(study, two, "--copy-rest", "-q", "--shard", f"{n}/2") for n in (1, 2)] == [0, 0]
    assert run(["jobs", "merge", str(two), "-q"]) == 0
    assert tree(one) == tree(two)


def test_a_link_that_leads_out_is_never_copied(study, tmp_path, capsys):
    (tmp_path / "private.txt").write_text("private")
    (study / "images/link.txt").symlink_to(tmp_path / "private.txt")
    assert protect(study, tmp_path / "out", "--copy-rest", "--json") == 0
    assert "leads out" in {line["file"]: line["reason"] for line in told(capsys)["left"]}["images/link.txt"]
    assert b"private" not in words(tmp_path / "out")


@pytest.mark.parametrize("more", [[], ["--workers", "1"]])
def test_what_cannot_be_read_is_not_waited_for_and_costs_itself(study, tmp_path, capsys, more):
    os.mkfifo(study / "images/pipe")
    (study / "images/gone").symlink_to("nowhere")
    assert protect(study, tmp_path / "out", "--copy-rest", "--json", *more) == 0
    left = {line["file"]: line["reason"] for line in told(capsys)["left"]}
    assert "named pipe" in left["images/pipe"]
    assert "cannot be read" in left["images/gone"]


def test_what_is_missing_for_de_identification_is_said_first(study, phantoms, tmp_path, capsys, monkeypatch):
    pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    assert protect(phantoms(tmp_path / "plain"), tmp_path / "out", "--deidentify", "-q") == 2
    assert "there is no DICOM image" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "dicognito.anonymizer", None)
    assert protect(study, tmp_path / "out", "--deidentify", "-q") == 2
    assert "pip install 'privmed[deidentify]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_worker_that_died_is_no_reason_to_publish_unprotected(study, tmp_path, monkeypatch, capsys):
    from privmed.data import protect as module
    from privmed.jobs import LostItem

    whole = module.protect_file

    def lost(protector, item, *rest):
        if item.image.name == "us.dcm":
            raise LostItem(f"{item.image}: its worker ended.")
        return whole(protector, item, *rest)

    monkeypatch.setattr(module, "protect_file", lost)
    assert protect(study, tmp_path / "out", "--copy-rest", "--json") == 1
    assert [f["file"] for f in told(capsys)["failed"]] == [SCAN]
    assert not (tmp_path / "out" / SCAN).exists()


def test_sets_without_dicom_list_their_rest_too(phantoms, tmp_path, capsys):
    root = phantoms(tmp_path / "plain", split="train train test test")
    (root / "README.txt").write_text("read me")
    assert protect(root, tmp_path / "out", "--json") == 0
    assert told(capsys)["left"] == [{"file": "README.txt", "reason": "is no picture"}]
    shutil.copy(root / "images/p0.png", root / "extra.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "extra.png")
    assert protect(root, tmp_path / "two", "--copy-rest", "--json") == 0
    assert {line["file"] for line in told(capsys)["copied"]} == {"README.txt", "extra.png"}
