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
    FRAME,
    INDEX,
    NAME,
    NOTE,
    NUMBER,
    REPORT,
    SCAN,
    SERIES,
    SLICES,
    STUDY,
    dicom_mask,
    study_tree,
    words,
)

from privmed.cli import run  # noqa: E402
from privmed.data.studies import StudyFolder  # noqa: E402
from privmed.data.workplace import work_of  # noqa: E402

NOISE = ["--protector", "noise", "--set", "where=roi"]
UIDS = (STUDY, SERIES, FRAME, *SLICES)


@pytest.fixture
def study(tmp_path):
    return study_tree(tmp_path / "set")


def protect(source, out, *more) -> int:
    return run(["protect", str(source), "-o", str(out), *NOISE, *more])


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def lines(out: Path) -> dict[str, dict]:
    found = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["file"]: line for line in found}


def shared_key(path: Path) -> str:
    assert run(["keygen", "--shared", "-o", str(path), "-q"]) == 0
    return str(path)


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


def bad_mask(study: Path, how: str) -> str:
    """The mask of the first slice as a DICOM file whose header cannot be changed; its name."""
    name = f"masks/jane/ct/{SLICES[0]}.dcm"
    (study / name).with_suffix(".png").unlink()
    dicom_mask(study / name, SLICES[0])
    if how == "no preamble":
        (study / name).write_bytes((study / name).read_bytes()[132:])
        return name
    ds = pydicom.dcmread(study / name)
    with pydicom.config.disable_value_validation():
        ds.StudyDate = "yesterday"
        ds.save_as(study / name)
    return name


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


class TestDeidentified:
    @pytest.fixture(autouse=True)
    def needs(self):
        pytest.importorskip("dicognito", reason="needs privmed[deidentify]")

    def test_nothing_tells_of_the_patient(self, study, tmp_path, capsys):
        (study / f"masks/jane/ct/{SLICES[0]}.png").unlink()
        dicom_mask(study / f"masks/jane/ct/{SLICES[0]}.dcm", SLICES[0])
        out = tmp_path / "out"
        assert protect(study, out, "--deidentify", "--copy-rest", "--json") == 0
        left = {line["file"]: line["reason"] for line in told(capsys)["left"]}
        assert "cannot be de-identified" in left[NOTE]
        assert "cannot be de-identified" not in left[INDEX]
        inside = b"".join(data for name, data in tree(out).items() if name != "manifest.jsonl")
        for word in (*UIDS, NAME, NUMBER, "20200102", "19701231", "S-0815"):
            assert word.encode() not in inside, word
        new = [pydicom.dcmread(out / name) for name in (*CTS, SCAN, CLIP, REPORT)]
        assert len({str(ds.PatientName) for ds in new}) == len({ds.StudyInstanceUID for ds in new}) == 1
        assert {ds.DeidentificationMethod for ds in new} == {"DICOGNITO"}
        assert protect(study, out, "--copy-rest", "--resume", "-q") == 2  # not with names from here on
        named = new[-1].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert [item.ReferencedSOPInstanceUID for item in named] == [ds.SOPInstanceUID for ds in new[:2]]
        assert not work_of(out).exists()  # the secret is gone

    def test_new_names_are_drawn_anew_unless_a_secret_is_given(self, study, tmp_path):
        key = shared_key(tmp_path / "key")
        for name, more in (("a", []), ("b", []), ("c", ["--secret", key]), ("d", ["--secret", key, "--workers", "2"])):
            assert protect(study, tmp_path / name, "--deidentify", "--copy-rest", "-q", *more) == 0
        names = [str(pydicom.dcmread(tmp_path / n / SCAN).PatientName) for n in "abc"]
        uids = [pydicom.dcmread(tmp_path / n / SCAN).StudyInstanceUID for n in "abc"]
        assert len(set(uids)) == 3
        assert len(set(names)) > 1
        assert tree(tmp_path / "c") == tree(tmp_path / "d")

    def test_a_resumed_run_goes_on_with_the_same_names(self, study, tmp_path, capsys):
        good = (study / CTS[1]).read_bytes()
        (study / CTS[1]).write_bytes(good[:-100])
        (study / CLIP).unlink()
        out = tmp_path / "out"
        assert protect(study, out, "--deidentify", "-q") == 1
        first = (out / CTS[0]).read_bytes()
        (study / CTS[1]).write_bytes(good)
        assert protect(study, out, "--deidentify", "-q", "--resume") == 0
        assert (out / CTS[0]).read_bytes() == first
        assert len({pydicom.dcmread(out / name).SeriesInstanceUID for name in CTS}) == 1
        assert not work_of(out).exists()
        assert protect(study, out, "--deidentify", "-q", "--resume") == 2
        assert "is gone" in capsys.readouterr().err

    def test_a_run_that_wrote_nothing_leaves_nothing(self, study, tmp_path):
        shutil.rmtree(study / "masks")
        (study / "masks").mkdir()
        assert protect(study, tmp_path / "out", "--deidentify", "-q") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["set"]

    def test_a_run_that_was_killed_goes_on_with_the_same_names(self, study, tmp_path, monkeypatch):
        from privmed.data.release import Release

        (study / CLIP).unlink()
        out, add, added = tmp_path / "out", Release.add, []

        def stop(release, *given, **more):
            if added:
                raise KeyboardInterrupt
            added.append(add(release, *given, **more))
            return added[-1]

        with monkeypatch.context() as patched:
            patched.setattr(Release, "add", stop)
            assert protect(study, out, "--deidentify", "-q") == 130
        assert protect(study, out, "--deidentify", "-q", "--resume") == 0
        assert len({pydicom.dcmread(out / name).StudyInstanceUID for name in (*CTS, SCAN)}) == 1
        assert len({str(pydicom.dcmread(out / name).PatientName) for name in (*CTS, SCAN)}) == 1

    def test_a_run_that_was_killed_while_judging_goes_on(self, study, tmp_path, monkeypatch):
        from privmed.cli import protect as module

        (study / CLIP).unlink()
        out = tmp_path / "out"

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, "check_judge", lambda *_: None)
            patched.setattr(module, "judge_release", stop)
            assert protect(study, out, "--deidentify", "--judge", "quick", "-q") == 130
        before = (out / SCAN).read_bytes()
        assert protect(study, out, "--deidentify", "--resume", "-q") == 0
        assert (out / SCAN).read_bytes() == before
        assert not work_of(out).exists()

    def test_what_names_are_made_from_is_for_its_owner_alone(self, study, tmp_path, capsys, monkeypatch):
        assert protect(study, tmp_path / "out", "--deidentify") == 1  # the clip
        kept = work_of(tmp_path / "out") / "identity"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert str(kept) in capsys.readouterr().out.replace("\n", "")
        (tmp_path / "mount").mkdir()
        monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "mount")
        assert protect(study, tmp_path / "mount", "--deidentify", "-q") == 2
        assert "--secret KEY" in capsys.readouterr().err
        assert list((tmp_path / "mount").iterdir()) == []

    def test_shards_need_a_secret(self, study, tmp_path, capsys):
        assert protect(study, tmp_path / "out", "--deidentify", "-q", "--shard", "1/2") == 2
        assert "--secret KEY" in capsys.readouterr().err
        more = ["--deidentify", "--copy-rest", "-q", "--secret", shared_key(tmp_path / "key")]
        assert [protect(study, tmp_path / "two", *more, "--shard", f"{n}/2") for n in (1, 2)] == [0, 0]
        assert run(["jobs", "merge", str(tmp_path / "two"), "-q"]) == 0
        assert protect(study, tmp_path / "one", *more) == 0
        assert tree(tmp_path / "one") == tree(tmp_path / "two")

    @pytest.mark.parametrize("how", ["a date", "no preamble"])
    def test_a_mask_that_keeps_the_name_costs_its_image(self, study, tmp_path, capsys, how):
        (study / CLIP).unlink()
        bad = bad_mask(study, how)
        key = shared_key(tmp_path / "key")
        out, parts = tmp_path / "out", tmp_path / "parts"
        more = ["--protector", "noise", "--set", "where=image", "--deidentify", "--secret", key]
        assert run(["protect", str(study), "-o", str(out), *more, "--json"]) == 1
        failed = {line["file"]: line["reason"] for line in told(capsys)["failed"]}
        assert failed.keys() == {CTS[0]}
        assert "mask" in failed[CTS[0]]
        assert lines(out).keys() == {CTS[1], SCAN}
        assert not (out / CTS[0]).exists()
        assert not (out / bad).exists()
        assert NAME.encode() not in words(out)
        for n in (1, 2):
            run(["protect", str(study), "-o", str(parts), *more, "-q", "--shard", f"{n}/2"])
        assert run(["jobs", "merge", str(parts), "-q"]) == 1
        assert not (parts / "manifest.jsonl").exists()
        assert run(["jobs", "merge", str(parts), "-q", "--leave-out"]) == 1
        assert tree(parts) == tree(out)
        dicom_mask(study / bad, SLICES[0])
        assert run(["protect", str(study), "-o", str(out), *more, "--resume", "-q"]) == 0
        assert lines(out).keys() == {*CTS, SCAN, bad}

    def test_tables_and_documents_tell_nothing_of_the_patient(self, study, tmp_path, capsys):
        one, two = (f"{name.removeprefix('images/')}" for name in CTS)
        (study / "groups.csv").write_text(f'file,group,who\n{one},"Doe, Jane",PAT-4711\n{two},"Doe, Jane",PAT-4711\n')
        (study / "labels.csv").write_text(f"\ufefffile;name;label\n{one};Doe^Jane;benign\n{two};Doe^Jane;benign\n")
        film = pydicom.dcmread(study / REPORT)
        film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = pydicom.uid.EncapsulatedPDFStorage
        film.EncapsulatedDocument = b"%PDF Doe^Jane "
        film.save_as(study / REPORT)
        out = tmp_path / "out"
        assert protect(study, out, "--deidentify", "--copy-rest", "--json") == 0
        assert "document" in {line["file"]: line["reason"] for line in told(capsys)["left"]}[REPORT]
        assert not (out / REPORT).exists()
        for word in (b"Doe", b"Jane", NUMBER.encode()):
            assert word not in words(out)
        assert (out / "groups.csv").read_text() == f"file,group\n{one},1\n{two},1\n"
        assert (out / "labels.csv").read_text() == f"file;label\n{one};benign\n{two};benign\n"
        (study / "labels.csv").write_text(f"file,name\n{one},Doe^Jane\n")
        assert protect(study, tmp_path / "two", "--deidentify", "-q") == 3
        assert "columns file and label" in capsys.readouterr().err

    def test_a_set_that_lost_all_its_masks_is_not_there(self, study, tmp_path):
        for name in (CTS[1], SCAN, CLIP):
            (study / name).unlink()
        bad_mask(study, "a date")
        assert protect(study, tmp_path / "out", "--deidentify", "-q") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["set"]

    def test_a_damaged_date_costs_its_file(self, study, tmp_path, capsys):
        ds = pydicom.dcmread(study / SCAN)
        with pydicom.config.disable_value_validation():
            ds.StudyDate = "yesterday"
            ds.save_as(study / SCAN)
        (study / CLIP).unlink()
        assert protect(study, tmp_path / "out", "--deidentify", "--json") == 1
        failed = told(capsys)["failed"]
        assert [f["file"] for f in failed] == [SCAN]
        assert "cannot be de-identified" in failed[0]["reason"]


def test_what_is_missing_for_de_identification_is_said_first(study, phantoms, tmp_path, capsys, monkeypatch):
    pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
    assert protect(phantoms(tmp_path / "plain"), tmp_path / "out", "--deidentify", "-q") == 2
    assert "there is no DICOM image" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "dicognito.anonymizer", None)
    assert protect(study, tmp_path / "out", "--deidentify", "-q") == 2
    assert "pip install 'privmed[deidentify]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class TestMarked:
    @pytest.fixture(autouse=True)
    def cheap(self, monkeypatch):
        pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
        pytest.importorskip("cryptography", reason="needs privmed[keys]")
        from privmed import locks

        monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
        monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")

    def mark(self, source, out, key, *more) -> int:
        return run(["watermark", str(source), "-o", str(out), "--key", str(key), "--watermarker", "plain", *more])

    @pytest.mark.parametrize("more", [[], ["--deidentify"]])
    def test_unlock_gives_back_pixels_and_every_tag(self, study, tmp_path, capsys, more):
        if more:
            pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
        out, key, back = tmp_path / "out", tmp_path / "k.key", tmp_path / "back"
        assert self.mark(study, out, key, "--copy-rest", "-q", *more) == 0
        marked = [pydicom.dcmread(out / name) for name in (*CTS, SCAN)]
        assert len({ds.StudyInstanceUID for ds in marked}) == 1
        assert not {ds.StudyInstanceUID for ds in marked} & {STUDY}
        assert all((ds.PatientName == NAME) != bool(more) for ds in marked)
        capsys.readouterr()
        assert run(["verify", str(out), "--key", str(key), "--json"]) == 0
        summary = told(capsys)
        assert {line["file"]: line["state"] for line in summary["images"] if line["state"] != "untouched"} == {
            CLIP: "copied"
        }
        assert run(["unlock", str(out), "-o", str(back), "--key", str(key), "--json"]) == 0
        assert (told(capsys)["copied"], (back / CLIP).exists()) == (1, False)
        for name in (*CTS, SCAN):
            assert pydicom.dcmread(back / name) == pydicom.dcmread(study / name), name

    def test_a_manifest_cannot_talk_an_altered_image_out_of_its_mark(self, study, tmp_path, capsys):
        from hashlib import sha256

        (study / CLIP).unlink()
        out, key = tmp_path / "out", tmp_path / "k.key"
        assert self.mark(study, out, key, "-q") == 0
        ds = pydicom.dcmread(out / SCAN)
        ds.PixelData = bytes(48) + ds.PixelData[48:]
        ds.save_as(out / SCAN)
        altered = lines(out)[SCAN] | {"copied": "x", "sha256": sha256((out / SCAN).read_bytes()).hexdigest()}
        (out / "manifest.jsonl").write_text("{]\n7\n" + json.dumps(altered) + "\n")
        assert run(["verify", str(out), "--key", str(key), "-q"]) == 6
        (out / "manifest.jsonl").write_bytes(b"\xff\n")
        assert run(["verify", str(out), "--key", str(key), "-q"]) == 6

    def test_a_resumed_run_equals_a_whole_one(self, study, tmp_path):
        (study / CLIP).unlink()
        good = (study / SCAN).read_bytes()
        runs = {name: (tmp_path / name, tmp_path / f"{name}.key") for name in ("whole", "parts")}
        assert self.mark(study, *runs["whole"], "--seed", "3", "--copy-rest", "-q") == 0
        (study / SCAN).write_bytes(good[:-100])
        assert self.mark(study, *runs["parts"], "--seed", "3", "--copy-rest", "-q") == 1
        (study / SCAN).write_bytes(good)
        assert self.mark(study, *runs["parts"], "--seed", "3", "--copy-rest", "-q", "--resume") == 0
        assert tree(runs["whole"][0]) == tree(runs["parts"][0])

    def test_new_names_do_not_come_from_a_seed(self, study, tmp_path, capsys):
        pytest.importorskip("dicognito", reason="needs privmed[deidentify]")
        (study / CLIP).unlink()
        given = [study, tmp_path / "out", tmp_path / "k.key", "--seed", "3", "--deidentify", "-q"]
        assert self.mark(*given) == 2
        assert "--secret KEY" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert self.mark(*given, "--secret", shared_key(tmp_path / "key")) == 0

    def test_shards_need_a_secret(self, study, tmp_path, capsys):
        (study / CLIP).unlink()
        assert self.mark(study, tmp_path / "out", tmp_path / "k.key", "--shard", "1/2", "-q") == 2
        assert "--secret KEY" in capsys.readouterr().err
        more = ["--secret", shared_key(tmp_path / "key"), "--together", "1", "-q"]
        for n in (1, 2):
            assert self.mark(study, tmp_path / "out", tmp_path / "k.key", "--shard", f"{n}/2", *more) == 0
        assert run(["jobs", "merge", str(tmp_path / "out"), "-q"]) == 0
        assert len({pydicom.dcmread(tmp_path / "out" / name).StudyInstanceUID for name in (*CTS, SCAN)}) == 1


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
