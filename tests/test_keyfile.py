"""Key files: opened by those they are for, and by nobody else; no change goes unnoticed."""

import hashlib
import os
import subprocess
import unicodedata

import pytest

from privmed import keyfile, locks
from privmed.errors import KeyFileError, OutputError
from privmed.keyfile import KeyWriter, part_of, read_key
from privmed.locks import Identity, Passphrase, Recipient, make_identity

ENTRIES = [{"name": "a.png", "place": [1, 2], "residual": bytes(range(256))}, {"b": {"c": b""}, "d": None, "e": [b"x"]}]
WORDS = Passphrase("correct horse")


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(locks, "SCRYPT", {"n": 2**10, "r": 8, "p": 1})


def write(path, locks=(WORDS,), entries=ENTRIES):
    writer = KeyWriter(path, locks)
    for entry in entries:
        writer.add(entry)
    return writer.close()


def test_entries_come_back(tmp_path):
    assert read_key(write(tmp_path / "k"), [WORDS]) == ENTRIES
    assert not part_of(tmp_path / "k").exists()


def test_nothing_readable_is_in_the_file(tmp_path):
    data = write(tmp_path / "k").read_bytes()
    assert b"a.png" not in data
    assert bytes(range(64)) not in data


def test_each_recipient_opens_and_a_stranger_does_not(tmp_path):
    people = [make_identity(tmp_path / name) for name in ("ann", "bob", "eve")]
    write(tmp_path / "k", [Recipient.read(public) for _, public in people[:2]])
    for private, _ in people[:2]:
        assert read_key(tmp_path / "k", [Identity.read(private)]) == ENTRIES
    with pytest.raises(KeyFileError, match="private key of a recipient"):
        read_key(tmp_path / "k", [Identity.read(people[2][0]), WORDS])
    assert os.stat(people[0][0]).st_mode & 0o077 == 0


def test_wrong_passphrase_and_damage_are_told_apart(tmp_path):
    data = write(tmp_path / "k").read_bytes()
    with pytest.raises(KeyFileError, match="does not open"):
        read_key(tmp_path / "k", [Passphrase("wrong")])
    for place, words in ((30, "header"), (len(data) - 1, "tampered"), (len(data) - 200, "tampered")):
        spoiled = bytearray(data)
        spoiled[place] ^= 1
        (tmp_path / "k").write_bytes(spoiled)
        with pytest.raises(KeyFileError, match=words):
            read_key(tmp_path / "k", [WORDS])


@pytest.mark.parametrize("cut", [1, 40, 120])
def test_cut_off_file_is_told(tmp_path, cut):
    data = write(tmp_path / "k").read_bytes()
    (tmp_path / "k").write_bytes(data[:-cut])
    with pytest.raises(KeyFileError, match="cut off"):
        read_key(tmp_path / "k", [WORDS])


def test_a_key_without_its_end_is_told(tmp_path):
    """Cut off between two entries, where every entry that is left is whole."""
    data = write(tmp_path / "k").read_bytes()
    (tmp_path / "k").write_bytes(data[: -(5 + 12 + len(keyfile.pack({})) + 16)])
    with pytest.raises(KeyFileError, match="its end is missing"):
        read_key(tmp_path / "k", [WORDS])


def test_a_passphrase_is_the_same_in_either_normal_form(tmp_path):
    write(tmp_path / "k", [Passphrase(unicodedata.normalize("NFD", "café"))])
    assert read_key(tmp_path / "k", [Passphrase(unicodedata.normalize("NFC", "café"))]) == ENTRIES


def test_a_lock_that_asks_for_too_much_is_refused(monkeypatch):
    """Before anything is computed: 16 GiB would be taken by the costs that stand in the file."""
    lock = WORDS.wrap(bytes(32))
    monkeypatch.setattr(Passphrase, "_stretch", lambda *_, **__: pytest.fail("the passphrase was stretched"))
    with pytest.raises(KeyFileError, match="more memory than any we write"):
        WORDS.unwrap({**lock, "n": 2**24, "r": 8})


def test_a_header_that_means_the_same_but_was_touched_is_told(tmp_path):
    """Locks could be taken away otherwise; who mends the checksum as well is told by the entries."""
    data = write(tmp_path / "k").read_bytes()
    touched = data.replace(b'{"locks": [', b'{"locks":\t[', 1)
    (tmp_path / "k").write_bytes(touched)
    with pytest.raises(KeyFileError, match="header is damaged"):
        read_key(tmp_path / "k", [WORDS])
    start = touched.index(b'{"locks"')
    end = touched.index(b"]}", start) + 2
    mended = touched[:end] + hashlib.sha256(touched[start:end]).digest() + touched[end + 32 :]
    (tmp_path / "k").write_bytes(mended)
    with pytest.raises(KeyFileError, match="entry 0 was tampered with"):
        read_key(tmp_path / "k", [WORDS])


def test_frames_cannot_be_dropped_or_swapped(tmp_path):
    same = [{"n": 1}, {"n": 2}, {"n": 3}]
    path = write(tmp_path / "k", entries=same)
    data = path.read_bytes()
    frame = 5 + 12 + len(keyfile.pack({"n": 1})) + 16
    last = 5 + 12 + len(keyfile.pack({})) + 16
    start = len(data) - 3 * frame - last
    head, frames, end = data[:start], [data[start + i * frame :][:frame] for i in range(3)], data[-last:]
    assert head + b"".join(frames) + end == data
    for order in ((0, 2), (1, 0, 2), (0, 1, 1, 2)):
        path.write_bytes(head + b"".join(frames[i] for i in order) + end)
        with pytest.raises(KeyFileError):
            read_key(path, [WORDS])


def test_interrupted_file_goes_on(tmp_path):
    path = tmp_path / "k"
    writer = KeyWriter(path, [WORDS])
    writer.add(ENTRIES[0])
    writer.add(ENTRIES[1])
    part = part_of(path)
    part.write_bytes(part.read_bytes()[:-3])  # the last frame is torn
    with pytest.raises(KeyFileError, match="does not open"):
        KeyWriter.resume(path, [Passphrase("wrong")])
    writer, found = KeyWriter.resume(path, [WORDS])
    assert found == ENTRIES[:1]
    writer.add(ENTRIES[1])
    writer.close()
    assert read_key(path, [WORDS]) == ENTRIES


def test_other_files_are_refused(tmp_path):
    (tmp_path / "k").write_text("hello")
    with pytest.raises(KeyFileError, match="no privmed key"):
        read_key(tmp_path / "k", [WORDS])
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_key(tmp_path / "missing", [WORDS])
    with pytest.raises(KeyFileError, match="no public key"):
        Recipient.read(tmp_path / "k")
    with pytest.raises(KeyFileError, match="no private key"):
        Identity.read(tmp_path / "k")
    with pytest.raises(KeyFileError, match="nobody"):
        KeyWriter(tmp_path / "n", [])
    with pytest.raises(OutputError):
        KeyWriter(tmp_path / "no" / "folder", [WORDS])


def test_a_full_disk_loses_nothing(tmp_path):
    """Staged on a file system of one page: the entry that does not fit is refused, those before it stay readable."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here")
    try:
        writer = KeyWriter(disk / "k", [WORDS])
        writer.add(ENTRIES[0])
        with pytest.raises(OutputError, match="No space"):
            writer.add({"big": os.urandom(50_000)})
        assert KeyWriter.resume(disk / "k", [WORDS])[1] == ENTRIES[:1]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
