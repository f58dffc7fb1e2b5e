"""What lsbm promises beyond the conformance kit: its format, its secrecy, its integrity, and where it changes what."""

import hashlib
import lzma
import struct
from itertools import product

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from privmed_hiders.lsbm import Carrier, matched, read_salt, salt_pixels
from privmed_hiders.lsbm.coding import LARGEST, Code, cheapest
from privmed_hiders.lsbm.secrecy import Keys, bytes_of, pack, unpack
from privmed_hiders.lsbm.texture import SMOOTH, costs
from scipy.signal import convolve2d

import privmed
from privmed import locks
from privmed.errors import InputError, KeyFileError, PrivmedError, VerificationError
from privmed.imaging.wire import from_bytes, to_bytes
from privmed.shared_key import SharedKey
from privmed.testing import parametrize_with_checks

KEY = SharedKey(bytes(range(32)))
DATA = b"a scan of patient 4711"


@parametrize_with_checks("hider:lsbm")
def test_lsbm_conforms(method, check):
    check(method)


@pytest.fixture
def hider():
    return privmed.hider("lsbm")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def photograph(rng, height=48, width=64, channels=3):
    """Flat on the left, textured on the right."""
    pixels = np.full((height, width, channels), 120.0)
    pixels[:, width // 2 :] += rng.normal(0, 25, (height, width - width // 2, channels))
    return from_bytes(pixels.clip(0, 255).astype(np.uint8))


def pixels_of(stego):
    pixels = to_bytes(stego)
    return pixels if pixels.ndim == 3 else pixels[..., None]


# --- the format, read by another program ------------------------------------------------------------------------------


def read_plainly(stego, secret):
    """A reader of its own, value by value, of nothing but the format's description."""
    height, width, channels = stego.shape
    pixels = [[int(v) for v in p] for p in stego.reshape(-1, channels)]
    salted = [n * len(pixels) // 128 for n in range(128)]
    salt = bytes_from([pixels[n][0] & 1 for n in salted])
    hkdf = lambda length, info, key: HKDF(SHA256(), length, salt, info).derive(key)  # noqa: E731
    keys = hkdf(128, b"privmed lsbm 1\n", hkdf(32, b"privmed shared key 1\n", secret))
    rest = [n for n in range(len(pixels)) if n not in set(salted)]
    stream = Cipher(algorithms.ChaCha20(keys[64:96], bytes(16)), None).encryptor().update(bytes(8 * len(rest)))
    bits = len(rest).bit_length()
    drawn = [int.from_bytes(stream[8 * n : 8 * n + 8], "little") >> bits for n in range(len(rest))]
    order = [rest[n] for n in sorted(range(len(rest)), key=lambda n: (drawn[n], n))]
    sealed = bytes_from([pixels[n][0] & 1 for n in order[:488]])
    head = ChaCha20Poly1305(keys[:32]).decrypt(bytes(12), sealed, b"privmed lsbm 1\n")
    p, size, length, digest = struct.unpack("<BIQ32s", head)
    values = [pixels[n][c] & 1 for c in range(channels) for n in order][488:]
    for n in salted + order[:488]:
        pixels[n][0] &= 254
    flat = bytes(v for pixel in pixels for v in pixel)
    assert hashlib.sha256(struct.pack("<3Q", height, width, channels) + flat).digest() == digest
    blocks, columns = -(-8 * size // p), 2**p - 1
    depth, found = len(values) // (blocks * columns), []
    for block in range(blocks):
        number = 0
        for place, column in product(range(depth), range(columns)):
            number ^= (column + 1) * values[(place * columns + column) * blocks + block]
        found += [number >> n & 1 for n in range(p)]
    packed = ChaCha20Poly1305(keys[32:64]).decrypt(bytes(12), bytes_from(found[: 8 * size]), b"privmed lsbm 1\n")
    data = lzma.decompress(packed, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}])
    assert len(data) == length
    return data


def bytes_from(bits):
    return bytes(int("".join(map(str, bits[n : n + 8])), 2) for n in range(0, len(bits), 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_another_program_reads_it(hider, rng, channels):
    stego = hider.hide_file(DATA, photograph(rng, 40, 52, channels), KEY)
    assert read_plainly(pixels_of(stego), KEY.secret) == DATA


def test_a_passphrase_costs_what_it_did():
    """Part of what a stego means: with other costs those that were sent could not be read."""
    assert locks.SCRYPT == {"n": 2**16, "r": 8, "p": 1}


def test_a_dicom_file_comes_back_whole(hider, rng):
    from pydicom.data import get_testdata_file

    with open(get_testdata_file("CT_small.dcm"), "rb") as file:
        data = file.read()
    cover = photograph(rng, 240, 320)
    assert hider.recover_file(hider.hide_file(data, cover, KEY), KEY) == data


# --- secrecy and integrity --------------------------------------------------------------------------------------------


def test_of_a_thousand_flipped_bits_each_is_refused(hider, rng):
    """Those of salt and head look like another key; of all others it is said that the image was altered."""
    stego = pixels_of(hider.hide_file(DATA, photograph(rng, 40, 48), KEY))
    carrier = Carrier.of(stego.copy(), Keys.of(KEY, bytes_of(read_salt(stego))))
    first = {*salt_pixels(stego[..., 0].size).tolist(), *carrier.order[:488].tolist()}
    for place, bit in zip(rng.integers(stego.size, size=1000), rng.integers(8, size=1000)):
        altered = stego.copy()
        altered.reshape(-1)[place] ^= 1 << bit
        expected = KeyFileError if place // 3 in first and place % 3 == 0 and bit == 0 else VerificationError
        with pytest.raises(expected, match=r"^stego: [^\n]*\.$"):
            hider.recover_file(from_bytes(altered), KEY)


def test_of_a_thousand_flipped_bits_of_a_key_each_opens_nothing(hider, rng):
    stego = hider.hide_file(DATA, photograph(rng, 40, 48), KEY)
    for place, bit in zip(rng.integers(32, size=1000), rng.integers(8, size=1000)):
        other = bytearray(KEY.secret)
        other[place] ^= 1 << bit
        with pytest.raises(KeyFileError, match="another key, or nothing is hidden"):
            hider.recover_file(stego, SharedKey(bytes(other)))


def test_pixels_may_not_move(hider, rng):
    stego = hider.hide_file(DATA, photograph(rng, 40, 48), KEY)
    for moved in (stego.flip(3), stego.flip(1), stego.transpose(2, 3), stego[..., :-1], stego.roll(1, 3)):
        with pytest.raises(PrivmedError):
            hider.recover_file(moved, KEY)


def test_the_file_has_a_seal_of_its_own():
    keys = Keys.of(KEY, bytes(16))
    sealed = bytearray(keys.seal_body(DATA))
    assert keys.open_body(bytes(sealed)) == DATA
    sealed[3] ^= 1
    with pytest.raises(VerificationError, match="altered"):
        keys.open_body(bytes(sealed))
    assert DATA not in sealed


def test_each_purpose_has_its_key_and_each_stego_its_salt(hider, rng):
    keys = Keys.of(KEY, bytes(16))
    assert len({keys.head, keys.body, keys.order, keys.direction}) == 4
    cover = photograph(rng)
    stegos = [hider.hide_file(data, cover, KEY, **how) for data in (b"a", b"b") for how in ({}, {}, {"generator": 0})]
    assert len({bytes_of(read_salt(pixels_of(s))) for s in stegos}) == len(stegos)


def test_the_order_is_one_of_the_key():
    keys, others = (Keys.of(key, bytes(16)) for key in (KEY, SharedKey(bytes(32))))
    order = keys.permutation(5000)
    assert sorted(order) == list(range(5000))
    assert (order == others.permutation(5000)).mean() < 0.01
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.1


def test_nothing_larger_than_the_limit_is_unpacked(hider, monkeypatch):
    stego = hider.hide_file(bytes(10**7), torch.full((1, 3, 120, 120), 0.5), KEY)
    monkeypatch.setenv("PRIVMED_MAX_FILE_BYTES", "9999999")
    with pytest.raises(InputError, match="PRIVMED_MAX_FILE_BYTES"):
        hider.recover_file(stego, KEY)


def test_unpacking_stops_at_the_length_that_was_promised():
    """A program that knows the key may still lie."""
    packed = pack(bytes(10**6))
    assert unpack(packed, 10**6) == bytes(10**6)
    for lie in (10**6 + 1, 2**40):
        with pytest.raises(VerificationError, match="not whole"):
            unpack(packed, lie)
    with pytest.raises(VerificationError, match="not whole"):
        unpack(b"\xff" * 20, 5)
    assert len(unpack(packed, 10)) == 10


# --- where it changes what --------------------------------------------------------------------------------------------


def test_values_move_by_one_in_texture_both_ways_and_few_of_them(hider, rng):
    cover = photograph(rng, 128, 128)
    data = rng.bytes(600)
    change = pixels_of(hider.hide_file(data, cover, KEY, generator=0)).astype(int) - pixels_of(cover)
    assert set(np.unique(change)) == {-1, 0, 1}
    moved = change != 0
    assert moved[:, 64:].sum() > 5 * moved[:, :64].sum()
    ups, count = (change > 0).sum(), moved.sum()
    assert abs(ups / count - 0.5) < 0.1
    assert count - 308 < 0.35 * 8 * len(data)  # 308 for half the bits of salt and head


def test_last_bits_look_random_however_flat_the_photograph_is(hider, rng):
    for value in (0, 127, 255):
        cover = from_bytes(np.full((96, 96), value, np.uint8))
        last = pixels_of(hider.hide_file(rng.bytes(1050), cover, KEY)).ravel() & 1
        assert abs(last.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(last))
        signed = 2.0 * last - 1
        for lag in (1, 2, 96):
            assert abs((signed[lag:] * signed[:-lag]).mean()) < 5 / np.sqrt(len(last))


def test_a_value_at_the_end_of_the_range_turns_back():
    values = np.array([0, 0, 255, 255, 7, 7], np.uint8)
    assert matched(values, np.array([0, 1] * 3)).tolist() == [1, 1, 254, 254, 6, 8]


def test_values_that_can_go_one_way_only_cost_most(rng):
    pixels = rng.integers(60, 200, (40, 40, 1), dtype=np.uint8)
    pixels[5, 5], pixels[20, 20] = 0, 255
    found = costs(pixels)[..., 0]
    saturated = np.isin(pixels[..., 0], (0, 255))
    assert found[saturated].min() > 100 * found[~saturated].max()


def test_costs_are_those_of_the_paper(rng):
    plane = rng.integers(1, 255, (33, 40)).astype(np.uint8)
    mirrored = lambda x, n: np.pad(x, n, mode="reflect")  # noqa: E731
    high = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]])
    detail = np.abs(convolve2d(mirrored(plane.astype(float), 1), high, "valid"))
    near = convolve2d(mirrored(detail, 1), np.full((3, 3), 1 / 9), "valid")
    wanted = convolve2d(mirrored(1 / (near + SMOOTH), 7), np.full((15, 15), 1 / 225), "valid")
    np.testing.assert_allclose(costs(plane[..., None])[..., 0], wanted, rtol=1e-4)


# --- matrix embedding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, LARGEST + 1))
def test_a_message_is_read_back_after_its_changes(rng, bits):
    last, prices = rng.integers(0, 2, 3000, dtype=np.uint8), rng.random(3000, dtype=np.float32)
    message = rng.integers(0, 2, 101, dtype=np.uint8)
    code = Code.of(bits, len(message), len(last))
    changes, price = code.changes(message, last, prices)
    assert len(set(changes)) == len(changes) <= 2 * code.blocks
    assert price == pytest.approx(prices[changes].sum(), rel=1e-4)
    last[changes] ^= 1
    assert np.array_equal(code.read(last, len(message)), message)


def test_no_other_change_is_cheaper(rng):
    """Of one block of two bits, against all 63 sets of values."""
    code = Code(2, 2, 1)
    for _ in range(20):
        last, prices = rng.integers(0, 2, 6, dtype=np.uint8), rng.random(6, dtype=np.float32)
        message = rng.integers(0, 2, 2, dtype=np.uint8)
        fits = [f for f in product((0, 1), repeat=6) if np.array_equal(code.read(last ^ np.uint8(f), 2), message)]
        assert code.changes(message, last, prices)[1] == pytest.approx(min(prices @ f for f in fits), abs=1e-6)


def test_little_goes_into_long_blocks_and_much_into_short_ones(rng):
    last, prices = rng.integers(0, 2, 6000, dtype=np.uint8), np.ones(6000, np.float32)
    loads = [cheapest(rng.integers(0, 2, n, dtype=np.uint8), last, prices)[0].bits for n in (6000, 2000, 300)]
    assert loads[0] == 1
    assert loads == sorted(loads)
    assert loads[-1] >= 5
