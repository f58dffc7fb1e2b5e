"""Shared keys: exactly what was made is read, and nothing else."""

import os

import pytest

from privmed.errors import KeyFileError, OutputError
from privmed.shared_key import HEAD, SharedKey, make_shared_key

pytest.importorskip("cryptography", reason="needs privmed[keys]")


def test_a_key_is_random_and_its_owners_alone(tmp_path):
    one, two = (SharedKey.read(make_shared_key(tmp_path / name)) for name in "ab")
    assert one != two
    assert len(one.secret) == 32
    assert os.stat(tmp_path / "a").st_mode & 0o077 == 0
    with pytest.raises(OutputError, match="exists already"):
        make_shared_key(tmp_path / "a")


def test_no_flipped_bit_leaves_the_key_as_it_was(tmp_path):
    key = SharedKey.read(make_shared_key(tmp_path / "k"))
    data = (tmp_path / "k").read_bytes()
    for place in range(8 * len(data)):
        altered = bytearray(data)
        altered[place // 8] ^= 1 << place % 8
        (tmp_path / "k").write_bytes(altered)
        try:
            assert SharedKey.read(tmp_path / "k") != key
        except KeyFileError as error:
            assert "privmed keygen --shared" in str(error)


@pytest.mark.parametrize(
    "data", [b"", b"secret", HEAD, HEAD + b"0" * 63 + b"\n", HEAD + b"0" * 64, HEAD + b"0" * 64 + b"\n\n"]
)
def test_what_is_no_key_is_refused(tmp_path, data):
    (tmp_path / "k").write_bytes(data)
    with pytest.raises(KeyFileError, match="no shared key"):
        SharedKey.read(tmp_path / "k")


@pytest.mark.parametrize("secret", [b"short", "text" * 8, None])
def test_a_key_has_32_bytes(secret):
    with pytest.raises(KeyFileError, match="32 random bytes"):
        SharedKey(secret)


def test_what_is_derived_hangs_on_key_and_salt_and_the_key_is_not_shown():
    key = SharedKey(bytes(32))
    assert len({key.derive(b"a"), key.derive(b"b"), SharedKey(bytes([1] * 32)).derive(b"a"), key.secret}) == 4
    assert "secret" not in repr(key)
