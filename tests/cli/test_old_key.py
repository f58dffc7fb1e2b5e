"""A key and marked files of version 0.1.0 (grey, deep, colour and windowed, with opacity jitter) come off bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from privmed.cli import run
from privmed.imaging import read
from privmed.imaging.record import fingerprint

pytest.importorskip("cryptography", reason="needs privmed[keys]")
pytest.importorskip("pydicom", reason="needs privmed[dicom]")
OLD = Path(__file__).with_name("old_key")


def test_what_an_earlier_version_marked_comes_off_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVMED_PASSPHRASE", "correct horse")
    assert (
        run(["unlock", str(OLD / "published"), "-o", str(tmp_path / "back"), "--key", str(OLD / "set.key"), "-q"]) == 0
    )
    originals = json.loads((OLD / "originals.json").read_text(encoding="utf-8"))
    assert {name: fingerprint(read(tmp_path / "back" / name).pixels) for name in originals} == originals
