"""Studies whose headers tell nothing of the patient any more: ``--deidentify``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")

sys.path.insert(0, str(Path(__file__).parent))
from studytree import (  # noqa: E402
    CLIP,
    CTS,
    INDEX,
    NAME,
    NOTE,
    NUMBER,
    REPORT,
    SCAN,
    SLICES,
    UIDS,
    bad_mask,
    dicom_mask,
    lines,
    protect,
    shared_key,
    study_tree,
    told,
    tree,
    words,
)

from privmed.cli import run  # noqa: E402
from privmed.data.workplace import work_of  # noqa: E402


@pytest.fixture
def study(tmp_path):
    return study_tree(tmp_path / "set")


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
        assert left[NOTE].endswith("and what is no DICOM file cannot be de-identified")  # known before it is tried
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
