"""Covert commands leave everything or nothing: interrupted, on a full disk, at every step."""

import errno

import pytest

from privmed.cli import run
from privmed.files import whole_file

pytest.importorskip("privmed_hiders", reason="needs the plugin privmed-hiders")
pytest.importorskip("privmed_analyzers", reason="needs the plugin privmed-analyzers")

STEPS = [
    "privmed.interfaces.Hider.hide",
    "privmed.interfaces.Hider.recover",
    "privmed.interfaces.Analyzer.analyze",
    "privmed.interfaces.Analyzer.decode",
    "privmed.covert.report.to_html",
]


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def covert(files, output, *options):
    return run(["covert", str(files / "scan.png"), str(files / "photo.jpg"), "-o", str(output), "-q", *options])


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_step_leaves_nothing_not_even_folders(files, monkeypatch, step):
    monkeypatch.setattr(step, raising(KeyboardInterrupt()))
    before = sorted(files.rglob("*"))
    assert covert(files, files / "new/deep/out") == 130
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize("name", ["stego.png", "error-map.png", "response.png", "mask.png", "report.html"])
def test_a_full_disk_at_any_file_leaves_nothing_and_names_the_file(files, capsys, monkeypatch, name):
    import contextlib

    @contextlib.contextmanager
    def full(path, **options):
        with whole_file(path, **options) as temporary:
            if path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield temporary

    for module in ("privmed.imaging.wire", "privmed.covert.report"):
        monkeypatch.setattr(f"{module}.whole_file", full)
    before = sorted(files.rglob("*"))
    assert covert(files, files / "out") == 2
    assert capsys.readouterr().err == f"privmed: {files}/out/{name}: cannot be written (No space left on device).\n"
    assert sorted(files.rglob("*")) == before


def test_an_interrupted_covert_leaves_an_older_result_as_it_was(files, monkeypatch):
    assert covert(files, files / "out") == 0
    (files / "out/notes.txt").write_text("mine")
    before = {p: p.read_bytes() for p in (files / "out").iterdir()}
    monkeypatch.setattr("privmed.covert.report.to_html", raising(KeyboardInterrupt()))
    assert covert(files, files / "out", "--force", "--seed", "3") == 130
    assert {p: p.read_bytes() for p in (files / "out").iterdir()} == before
    monkeypatch.undo()
    assert covert(files, files / "out") == 2
    assert covert(files, files / "out", "--force") == 0
    assert {p.name for p in (files / "out").iterdir()} == {p.name for p in before}


def test_an_interrupted_demo_leaves_nothing(files, monkeypatch):
    monkeypatch.setattr("privmed.interfaces.Hider.hide", raising(KeyboardInterrupt()))
    pytest.importorskip("skimage", reason="needs privmed[demo]")
    pytest.importorskip("pydicom", reason="needs privmed[demo]")
    before = sorted(files.rglob("*"))
    assert run(["demo", "-o", str(files / "new/demo"), "-q"]) == 130
    assert sorted(files.rglob("*")) == before
