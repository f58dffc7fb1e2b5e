"""What lies in a data set beside its images: keys, hidden files, tables with line breaks. Nothing of it is published by mistake."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from privmed import locks
from privmed.cli import run
from privmed.data.tables import Table
from privmed.errors import InputError
from privmed.shared_key import make_shared_key

NOISE = ["--protector", "noise", "--set", "where=roi", "-q"]


@pytest.fixture
def folder(phantoms, tmp_path):
    return phantoms(tmp_path / "set")


@pytest.fixture
def classes(folder, tmp_path):
    root = tmp_path / "classes"
    for i, name in enumerate(("benign", "malignant")):
        (root / name).mkdir(parents=True)
        shutil.copy(folder / f"images/p{i}.png", root / name / f"p{i}.png")
    return root


def tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def protect(source: Path, out: Path, *more: str) -> int:
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    return run(["protect", str(source), "-o", str(out), *NOISE, *more])


def mark(source: Path, out: Path, key: Path, *more: str) -> int:
    pytest.importorskip("privmed_watermarkers", reason="needs the plugin privmed-watermarkers")
    return run(["watermark", str(source), "-o", str(out), "--key", str(key), "--watermarker", "plain", "-q", *more])


@pytest.fixture
def words(monkeypatch):
    """Of a key."""
    pytest.importorskip("cryptography", reason="needs privmed[keys]")
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")


def test_keys_that_lie_in_a_set_are_never_copied(classes, tmp_path, capsys, words):
    """A finished one of an earlier run, one of another way to share, and half of a pair."""
    assert mark(classes, tmp_path / "first", tmp_path / "first.key") == 0
    shutil.copy(tmp_path / "first.key", classes / "old.key")
    make_shared_key(classes / "shared.txt")
    assert run(["keygen", "-o", str(classes / "mine"), "-q"]) == 0
    (classes / "other.pem").write_text(
        "-----BEGIN EC PARAMETERS-----\nBgUr\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n"
    )
    (classes / "notes.txt").write_text("of the study")
    assert mark(classes, tmp_path / "out", tmp_path / "out.key", "--copy-rest", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {left["file"]: left["reason"] for left in told["left"]} == dict.fromkeys(
        ("mine", "old.key", "other.pem", "shared.txt"), "is a key"
    )
    assert tree(tmp_path / "out") >= {"notes.txt", "mine.pub", "benign/p0.png"}
    assert not tree(tmp_path / "out") & {"mine", "old.key", "shared.txt"}


def test_secrets_that_would_be_published_are_refused(classes, tmp_path, capsys, words):
    (classes / "pass.txt").write_text("correct horse")
    more = ["--passphrase-file", str(classes / "pass.txt")]
    assert mark(classes, tmp_path / "out", tmp_path / "k", *more, "--copy-rest") == 2
    assert "pass.txt: lies in" in capsys.readouterr().err
    assert mark(classes, tmp_path / "out", classes / "k") == 2
    assert "must stay untouched" in capsys.readouterr().err
    secret = ["--secret", str(make_shared_key(classes / "shared"))]
    assert protect(classes, tmp_path / "out", *secret, "--copy-rest") == 2
    assert "shared: lies in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (classes / "fit.safetensors").write_bytes(b"a fit")
    assert protect(classes, tmp_path / "out", "--load", str(classes / "fit.safetensors"), "--copy-rest") == 2
    assert "fit.safetensors: lies in" in capsys.readouterr().err
    assert mark(classes, tmp_path / "out", tmp_path / "k", *more) == 0  # is not copied


def test_hidden_files_are_neither_images_nor_classes_nor_copied(classes, tmp_path, capsys):
    for name in (".thumbnails", "benign/.ipynb_checkpoints", "__MACOSX"):
        (classes / name).mkdir()
        shutil.copy(classes / "benign/p0.png", classes / name / "t.png")
    (classes / "benign/._p0.png").write_bytes(b"of another system")
    pytest.importorskip("privmed_protectors", reason="needs the plugin privmed-protectors")
    command = [
        "protect",
        str(classes),
        "-o",
        str(tmp_path / "out"),
        "--protector",
        "lsp",
        "--copy-rest",
        "--json",
        "-q",
    ]
    assert run(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["left"]) == 4
    assert {left["reason"] for left in told["left"]} == {"is hidden, or lies in a hidden folder"}
    lines = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["benign/p0.png", "malignant/p1.png"]
    assert lines[0]["classes"] == ["benign", "malignant"]


TABLE = 'file,split,comment\r\np0.png,train,fine\r\n{p1}p2.png,test,"as in\np1.png, see there"\np3.png,train,\n'
ABOUT_ONE = 'p1.png,train,"bad scan,\nsee letter ""of"" John Doe"\r\n'


def test_a_cell_with_line_breaks_stays_or_goes_with_its_row(folder, tmp_path):
    Image.new("L", Image.open(folder / "masks/p1.png").size).save(
        folder / "masks/p1.png"
    )  # nothing to protect: left out
    (folder / "split.csv").write_bytes(TABLE.format(p1=ABOUT_ONE).encode())
    assert protect(folder, tmp_path / "out") == 1
    assert (tmp_path / "out/split.csv").read_bytes() == TABLE.format(p1="").encode()


@pytest.mark.parametrize("absent", [set(), {"b"}, {"a", "c"}])
@pytest.mark.parametrize(
    "text",
    [
        'file\n"a"\n\nb\nc',
        'file,x\na,"\nb\n"\rb,"""\n"\nc,\x0c\x85\n',
        "\ufefffile;x\r\na;1\r\nb;2\r\nc;3\r\n",
    ],
)
def test_tables_lose_the_rows_of_what_was_left_out_and_no_others(tmp_path, text, absent):
    """As a CSV reader sees them; what is kept stays byte for byte."""
    path, copy = tmp_path / "split.csv", tmp_path / "copy.csv"
    path.write_bytes(text.encode())
    Table(path).copy(copy, absent, tmp_path)
    delimiter = ";" if ";" in text else ","
    rows = [
        list(csv.reader(io.StringIO(t, newline=""), delimiter=delimiter)) for t in (text, copy.read_bytes().decode())
    ]
    assert rows[1] == [row for row in rows[0] if not row or row[0] not in absent]
    if not absent:
        assert copy.read_bytes() == path.read_bytes()


def test_a_head_with_a_line_break_is_one_row(tmp_path):
    (tmp_path / "split.csv").write_text('"a\nnote",file,split\nx,a,train\ny,b,test\n')
    Table(tmp_path / "split.csv").copy(tmp_path / "copy.csv", {"b"}, tmp_path)
    assert (tmp_path / "copy.csv").read_text() == '"a\nnote",file,split\nx,a,train\n'


def test_a_quote_that_is_never_closed_is_told(tmp_path):
    """It would take in the rows of what was left out."""
    (tmp_path / "split.csv").write_text('file,split\na,"train\nb,test\n')
    with pytest.raises(InputError, match=r"split\.csv: row 2 opens a quote that is never closed"):
        Table(tmp_path / "split.csv")


def test_a_table_that_is_no_csv_is_told(tmp_path):
    (tmp_path / "split.csv").write_text("file,split\n" + "x" * 200_000)
    with pytest.raises(InputError, match=r"split\.csv: cannot be read"):
        Table(tmp_path / "split.csv")
