"""Marks on a tree of DICOM studies, lifted and told apart from what was only copied."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")

sys.path.insert(0, str(Path(__file__).parent))
from studytree import (  # noqa: E402
    CLIP,
    CTS,
    NAME,
    SCAN,
    STUDY,
    lines,
    shared_key,
    study_tree,
    told,
    tree,
)

from privmed.cli import run  # noqa: E402


@pytest.fixture
def study(tmp_path):
    return study_tree(tmp_path / "set")


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
