"""hide, analyze and recover on folders: one file for each, none of them twice, and the sender's manifest beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privmed.cli import run

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
QUICK = ["--refine", "0", "-q"]


@pytest.fixture
def scans(tmp_path):
    y, x = np.mgrid[0:48, 0:64] / 48
    (tmp_path / "scans/b").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    for n, name in enumerate(("0.png", "1.tif", "b/0.png")):
        scan = 127 + 90 * np.sin((3 + n) * x) * np.cos(4 * y)
        Image.fromarray(scan.astype(np.uint8)).save(tmp_path / "scans" / name)
    for n in range(4):
        photo = np.stack([127 + 100 * np.cos((2 + n) * x + k) * np.sin(2 * y) for k in range(3)], 2)
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / f"photos/{n}.png")
    return tmp_path


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def hide(root, out, *more) -> int:
    return run(["hide", str(root / "scans"), str(root / "photos"), "-o", str(root / out), *QUICK, *more])


def test_a_folder_is_hidden_analysed_and_recovered(scans, capsys):
    assert hide(scans, "stegos") == 0
    assert set(tree(scans / "stegos")) == {"0.png", "1.png", "b/0.png"}  # may be sent as it is
    manifest = lines(scans / "stegos.jsonl")
    assert [line["source"] for line in manifest] == ["0.png", "1.tif", "b/0.png"]
    assert len({line["cover"] for line in manifest}) == 3
    assert all(line["recovered_psnr"] > 25 for line in manifest)
    assert run(["recover", str(scans / "stegos"), "-o", str(scans / "back"), "-q"]) == 0
    assert run(["recover", str(scans / "stegos/1.png"), "-o", str(scans / "one.png"), "-q"]) == 0
    back = np.asarray(Image.open(scans / "back/1.png").convert("L"), float)
    assert np.abs(back - np.asarray(Image.open(scans / "one.png").convert("L"), float)).max() <= 1
    assert np.abs(back - np.asarray(Image.open(scans / "scans/1.tif"), float)).mean() < 8
    assert {p.name for p in scans.iterdir()} == {
        "scans",
        "photos",
        "stegos",
        "stegos.jsonl",
        "back",
        "back.jsonl",
        "one.png",
    }


def test_a_scan_of_black_and_white_comes_back_though_what_is_read_overshoots(scans):
    """A network gives a little less than black and more than white."""
    y, x = np.mgrid[0:48, 0:64]
    disc = np.where((x - 32) ** 2 + (y - 24) ** 2 < 200, 255, 0).astype(np.uint8)
    Image.fromarray(disc).save(scans / "scans/0.png")
    assert hide(scans, "stegos") == 0
    assert run(["recover", str(scans / "stegos"), "-o", str(scans / "back"), "-q"]) == 0
    assert run(["recover", str(scans / "stegos/0.png"), "-o", str(scans / "one.png"), "-q"]) == 0
    assert np.abs(np.asarray(Image.open(scans / "one.png").convert("L"), float) - disc).mean() < 8
    assert run(["recover", str(scans / "photos/0.png"), "-o", str(scans / "none.png"), "-q"]) == 0


def test_shards_and_workers_hide_as_one_process_does(scans, capsys):
    assert hide(scans, "one") == 0
    assert hide(scans, "two", "--workers", "1") == 0
    assert [hide(scans, "three", "--shard", f"{n}/2") for n in (1, 2)] == [0, 0]
    assert run(["jobs", "merge", str(scans / "three"), "-q"]) == 0
    for name in ("two", "three"):
        assert tree(scans / name) == tree(scans / "one")
        assert (scans / f"{name}.jsonl").read_bytes() == (scans / "one.jsonl").read_bytes()
    assert {p.name for p in scans.iterdir() if p.name.startswith(".")} == set()


def test_shards_take_the_files_of_a_folder_that_a_whole_run_takes(scans):
    pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
    path = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    for name in ("a.dcm", "b.dcm", "IM0001"):
        (scans / "scans" / name).write_bytes(Path(path).read_bytes())
    for name in ("0.png", "1.tif", "b/0.png"):
        (scans / "scans" / name).unlink()
    assert hide(scans, "one", "--allow-lossy") == 0
    assert [hide(scans, "two", "--allow-lossy", "--shard", f"{n}/2") for n in (1, 2)] == [0, 0]
    assert run(["jobs", "merge", str(scans / "two"), "-q"]) == 0
    assert tree(scans / "two") == tree(scans / "one")


@pytest.mark.slow
def test_the_analyzer_answers_a_folder(scans):
    pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")
    assert hide(scans, "stegos") == 0
    (scans / "stegos/0.png").write_bytes(b"no picture")
    assert run(["analyze", str(scans / "stegos"), "-o", str(scans / "answers"), "-q"]) == 1
    assert set(tree(scans / "answers")) == {"1.png", "b/0.png"}
    command = ["recover", str(scans / "answers"), "-o", str(scans / "masks"), "--as", "mask", "-q"]
    assert run(command) == 0
    assert [line["file"] for line in lines(scans / "masks.jsonl")] == ["1.png", "b/0.png"]
    assert all("outcome" in line for line in lines(scans / "masks.jsonl"))


def test_a_photograph_is_never_used_twice(scans, capsys):
    for n in (2, 3):
        (scans / f"photos/{n}.png").unlink()
    assert hide(scans, "out") == 3
    assert "holds 2 photographs, expected at least 3" in capsys.readouterr().err
    command = ["hide", str(scans / "scans"), str(scans / "photos/0.png"), "-o", str(scans / "out")]
    assert run(command) == 3
    assert "expected a folder of photographs" in capsys.readouterr().err
    assert not (scans / "out").exists()


def test_a_photograph_stays_used_when_a_run_goes_on(scans):
    """Whatever has become of the folders meanwhile: two stegos of one photograph would show where they differ."""
    assert hide(scans, "whole") == 0
    covers = {line["source"]: line["cover"] for line in lines(scans / "whole.jsonl")}
    broken = scans / "photos" / covers["0.png"]
    picture = broken.read_bytes()
    broken.write_bytes(b"no picture")
    assert hide(scans, "out") == 1
    broken.unlink()
    Image.open(scans / "scans/0.png").rotate(90).save(scans / "scans/00.png")
    Image.open(scans / "photos/0.png" if covers["0.png"] != "0.png" else scans / "photos/1.png").rotate(180).save(
        scans / "photos/more.png"
    )
    assert hide(scans, "out", "--resume") == 0
    found = {line["source"]: line["cover"] for line in lines(scans / "out.jsonl")}
    assert len(set(found.values())) == 4
    assert {name: found[name] for name in ("1.tif", "b/0.png")} == {n: covers[n] for n in ("1.tif", "b/0.png")}
    broken.write_bytes(picture)
    assert hide(scans, "again") == 0


@pytest.mark.parametrize("away", [True, False])
def test_a_used_photograph_is_known_by_its_content(scans, away):
    """Also where it has got another name since, or a copy; and a scan that has changed gets another photograph."""
    assert hide(scans, "whole") == 0
    covers = {line["source"]: line["cover"] for line in lines(scans / "whole.jsonl")}
    (scans / "whole/1.png").unlink()  # as somebody may have who sent it
    other = next(iter({f"{n}.png" for n in range(4)} - set(covers.values())))
    for n in range(2):
        Image.open(scans / "photos" / other).rotate(90 + 90 * n).save(scans / f"photos/b{n}.png")
    Image.open(scans / "scans/0.png").rotate(180).save(scans / "scans/0.png")
    used = scans / "photos" / covers["0.png"]
    (scans / "photos/a.png").write_bytes(used.read_bytes())
    if away:
        used.unlink()
    assert hide(scans, "whole", "--resume") == 0
    found = {line["source"]: line["cover"] for line in lines(scans / "whole.jsonl")}
    assert found["0.png"] in {other, "b0.png", "b1.png"}
    assert {n: found[n] for n in ("1.tif", "b/0.png")} == {n: covers[n] for n in ("1.tif", "b/0.png")}


def test_shards_that_took_one_photograph_for_two_scans_are_not_merged(scans, capsys):
    """As they may where somebody took photographs away between them."""
    assert [hide(scans, "out", "--shard", f"{n}/2") for n in (1, 2)] == [0, 0]
    first, second = (next(scans.glob(f".*{n}-of-2.privmed-work")) / "manifest.jsonl" for n in (1, 2))
    of_second = lines(second)
    of_second[0] |= {key: lines(first)[0][key] for key in ("cover", "cover_sha256")}
    second.write_text("".join(json.dumps(line) + "\n" for line in of_second))
    assert run(["jobs", "merge", str(scans / "out"), "-q"]) == 3
    assert "was taken for two scans" in capsys.readouterr().err


def test_a_manifest_without_its_folder_is_named(scans, capsys):
    (scans / "out.jsonl").write_text("")
    assert hide(scans, "out") == 2
    assert "out.jsonl: is there already" in capsys.readouterr().err


def test_one_picture_under_several_names_is_one_photograph(scans, capsys):
    photos = scans / "photos"
    for n in (2, 3):
        (photos / f"{n}.png").write_bytes((photos / "0.png").read_bytes())
    (photos / "4.png").symlink_to(photos / "1.png")
    (photos / "5.png").write_bytes((scans / "scans/0.png").read_bytes())  # a scan, which its stego would show
    assert hide(scans, "out") == 3
    assert "holds 2 photographs, expected at least 3" in capsys.readouterr().err
    scan, photo = scans / "scans/0.png", photos / "5.png"
    assert run(["hide", str(scan), str(photo), "-o", str(scans / "s.png"), *QUICK]) == 3
    assert "is the scan itself" in capsys.readouterr().err


def test_stegos_are_not_written_among_the_photographs(scans, capsys):
    """The next run would take them for photographs."""
    assert hide(scans, "photos/sent") == 2
    assert "must stay untouched" in capsys.readouterr().err


def test_what_is_not_hidden_is_told(scans, capsys):
    (scans / "scans/b/0_mask.png").write_bytes((scans / "scans/0.png").read_bytes())
    (scans / "scans/.thumbnails").mkdir()
    (scans / "scans/.thumbnails/t.png").write_bytes((scans / "scans/0.png").read_bytes())
    (scans / "scans/c.webp").write_bytes(b"RIFF")
    (scans / "photos/._0.png").write_bytes(b"of another system")
    assert hide(scans, "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 3
    assert [left["file"] for left in told["left"]] == [".thumbnails/t.png", "b/0_mask.png", "c.webp"]
    assert [left["reason"] for left in told["left"]] == [
        "is hidden, or lies in a hidden folder",
        "is a mask",
        "is no picture",
    ]


def test_dicom_is_found_by_its_content(scans):
    pydicom = pytest.importorskip("pydicom", reason="needs privmed[dicom]")
    data = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False)).read_bytes()
    (scans / "tree").mkdir()
    for name in ("IM0001", "1.2.840.1", "1.2.840.2"):
        (scans / "tree" / name).write_bytes(data)
    assert (
        run(["hide", str(scans / "tree"), str(scans / "photos"), "-o", str(scans / "out"), "--allow-lossy", *QUICK])
        == 0
    )
    assert set(tree(scans / "out")) == {"IM0001.png", "1.2.840.1.png", "1.2.840.2.png"}


def test_two_scans_that_would_become_one_file_are_refused(scans, capsys):
    (scans / "scans/0.tif").write_bytes((scans / "scans/1.tif").read_bytes())
    assert hide(scans, "out") == 3
    assert "would become 0.png" in capsys.readouterr().err


def test_options_for_folders_are_refused_for_a_file(scans, capsys):
    for option in (["--resume"], ["--workers", "2"], ["--shard", "1/2"], ["--dry-run"]):
        command = ["hide", str(scans / "scans/0.png"), str(scans / "photos/0.png"), "-o", str(scans / "s.png"), *option]
        assert run(command) == 2
        assert f"{option[0]}: is for folders" in capsys.readouterr().err


def test_no_mask_or_table_goes_with_what_is_hidden(scans):
    (scans / "set/images").mkdir(parents=True)
    (scans / "set/masks").mkdir()
    for part in ("images", "masks"):
        (scans / f"set/{part}/0.png").write_bytes((scans / "scans/0.png").read_bytes())
    (scans / "set/split.csv").write_text("file,split\n0.png,train\n")
    assert run(["hide", str(scans / "set"), str(scans / "photos"), "-o", str(scans / "out"), *QUICK]) == 0
    assert set(tree(scans / "out")) == {"images/0.png"}
