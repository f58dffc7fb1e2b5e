"""Checks of hiders that carry files under a key."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from privmed.errors import InputError, KeyFileError, SettingsError, VerificationError
from privmed.interfaces import FileHider
from privmed.locks import Passphrase
from privmed.shared_key import SharedKey
from privmed.testing import shared
from privmed.testing.samples import sample_images

KEY, OTHER = SharedKey(bytes(32)), SharedKey(bytes([1, *bytes(31)]))
FLIPS = 40


def _cover(size: tuple[int, int] = (48, 64), channels: int = 3) -> Tensor:
    return sample_images(1, size=size, channels=channels)[1]


def _noise(count: int) -> bytes:
    """A file that does not shrink."""
    return torch.randint(256, (count,), generator=torch.Generator().manual_seed(count)).byte().numpy().tobytes()


def _hidden(hider: FileHider) -> Tensor:
    return hider.hide_file(b"patient 4711", _cover(), KEY, generator=0)


def check_files_come_back_bit_for_bit(hider: FileHider) -> None:
    """recover_file() gives what hide_file() was given: nothing, zeros, noise; at any size of at least 32, in grey and colour."""
    for size, channels in (((48, 64), 3), ((33, 47), 1), ((32, 32), 1), ((32, 71), 3)):
        for data in (b"", b"\0" * 1000, _noise(12)):
            stego = hider.hide_file(data, _cover(size, channels), KEY)
            assert hider.recover_file(stego, KEY) == data, f"{len(data)} bytes at {size}"


def check_saturated_photographs_carry(hider: FileHider) -> None:
    """Black and white photographs, whose values can go one way only, carry as well, and stay in range."""
    for value in (0.0, 1.0):
        cover = torch.full((1, 1, 40, 40), value)
        stego = hider.hide_file(_noise(16), cover, KEY)
        assert hider.recover_file(stego, KEY) == _noise(16)
        assert stego.min() >= 0
        assert stego.max() <= 1


def check_stego_is_the_photograph_on_256_levels(hider: FileHider) -> None:
    """A stego has its photograph's size and channels, and nothing but multiples of 1/255, so that a PNG holds it exactly."""
    for size, channels in (((48, 64), 3), ((33, 47), 1)):
        cover = _cover(size, channels)
        stego = hider.hide_file(b"x", cover, KEY)
        assert stego.shape == cover.shape
        assert stego.dtype == torch.float32
        assert torch.equal((stego * 255).round() / 255, stego)


def check_grey_in_three_channels_stays_grey(hider: FileHider) -> None:
    """A photograph of equal channels becomes a grey stego, and one that is read back as colour is understood."""
    cover = _cover(channels=1)
    stego = hider.hide_file(b"x", cover.expand(-1, 3, -1, -1), KEY)
    assert stego.shape == cover.shape
    assert hider.recover_file(stego.expand(-1, 3, -1, -1), KEY) == b"x"


def check_inputs_are_left_alone(hider: FileHider) -> None:
    """hide_file() and recover_file() do not write into the tensors they are given."""
    cover = _cover(size=(64, 64))
    before = cover.clone()
    stego = hider.hide_file(b"x", cover, KEY)
    sent = stego.clone()
    hider.recover_file(stego, KEY)
    assert torch.equal(cover, before)
    assert torch.equal(stego, sent)


def check_other_keys_open_nothing(hider: FileHider) -> None:
    """Another key, or a passphrase, is a KeyFileError; and a passphrase opens what it has locked."""
    words = Passphrase("correct horse")
    _assert_refused(hider, _hidden(hider), OTHER, KeyFileError)
    _assert_refused(hider, _hidden(hider), words, KeyFileError)
    assert hider.recover_file(hider.hide_file(b"x", _cover(), words), words) == b"x"


def check_photographs_hold_nothing(hider: FileHider) -> None:
    """A photograph in which nothing is hidden is answered as another key is: without the key nobody can tell."""
    for cover in (_cover(), torch.zeros(1, 1, 40, 40), torch.ones(1, 3, 40, 40)):
        _assert_refused(hider, cover, KEY, KeyFileError)


def check_altered_stegos_are_refused(hider: FileHider) -> None:
    """One flipped bit, anywhere in the image, and nothing comes out; most often it is said that the image was altered."""
    pixels = (_hidden(hider) * 255).round().int().flatten()
    draw, seen = torch.Generator().manual_seed(0), []
    for _ in range(FLIPS):
        place, bit = int(torch.randint(len(pixels), (), generator=draw)), int(torch.randint(8, (), generator=draw))
        altered = pixels.clone()
        altered[place] ^= 1 << bit
        seen.append(_assert_refused(hider, altered.view(_cover().shape) / 255, KEY, KeyFileError, VerificationError))
    assert seen.count(VerificationError) > FLIPS / 2


def check_capacity_is_what_fits(hider: FileHider) -> None:
    """A file that takes the whole capacity fits; one byte more is refused with a size of photograph that would do."""
    for size, channels in (((32, 32), 1), ((32, 57), 3), ((90, 33), 1)):
        cover = _cover(size, channels)
        count = hider.capacity(cover)
        while hider.size_of(_noise(count)) > hider.capacity(cover):
            count -= 1
        assert hider.recover_file(hider.hide_file(_noise(count), cover, KEY), KEY) == _noise(count)
        width, height = _size_asked_for(hider, _noise(4 * count), cover)
        larger = _cover((height, width), channels)
        assert hider.recover_file(hider.hide_file(_noise(4 * count), larger, KEY), KEY) == _noise(4 * count)


def check_same_seed_same_bytes(hider: FileHider) -> None:
    """The same seed gives the same stego, other files or none another one, and the global generator is left alone."""
    state = torch.get_rng_state()
    once, again = (hider.hide_file(b"x", _cover(), KEY, generator=7) for _ in range(2))
    assert torch.equal(once, again), "the same seed gave another stego"
    assert not torch.equal(hider.hide_file(b"x", _cover(), KEY), hider.hide_file(b"x", _cover(), KEY))
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"


def check_bad_covers_are_refused(hider: FileHider) -> None:
    """Every bad cover is answered by one sentence that names it; so are several at a time."""
    shared.bad_inputs_refused(lambda cover, _: hider.hide_file(b"x", cover, KEY), "cover")
    shared.bad_inputs_refused(lambda cover, _: hider.capacity(cover), "cover")
    try:
        hider.hide_file(b"x", _cover().expand(2, -1, -1, -1), KEY)
    except InputError as error:
        assert "cover" in str(error)
        return
    raise AssertionError("two covers were accepted")


def check_bad_stegos_are_refused(hider: FileHider) -> None:
    """Every bad stego is answered by one sentence that names it."""
    shared.bad_inputs_refused(lambda stego, _: hider.recover_file(stego, KEY), "stego")


def check_what_is_no_file_or_key_is_refused(hider: FileHider) -> None:
    """Text in the place of a file is an InputError, bare words or bytes in the place of a key a KeyFileError."""
    for data, key, expected in (
        ("text", KEY, InputError),
        (b"x", "words", KeyFileError),
        (b"x", bytes(32), KeyFileError),
    ):
        try:
            hider.hide_file(data, _cover(), key)
        except expected:
            continue
        raise AssertionError(f"{data!r} under {key!r} was accepted")


def check_images_are_refused_with_the_way_out(hider: FileHider) -> None:
    """hide() and recover() of images are a SettingsError that names hide_file()."""
    secret, cover = sample_images(1)
    for call in (lambda: hider.hide(secret, cover, refine=2), lambda: hider.recover(cover, clamp=False)):
        try:
            call()
        except SettingsError as error:
            assert "hide_file()" in str(error)
            continue
        raise AssertionError("an image was taken")


def _assert_refused(hider: FileHider, stego: Tensor, key: Passphrase | SharedKey, *expected: type[Exception]) -> type:
    try:
        hider.recover_file(stego, key)
    except expected as error:
        return type(error)
    raise AssertionError("something came out")


def _size_asked_for(hider: FileHider, data: bytes, cover: Tensor) -> tuple[int, int]:
    """Width and height that the error of a photograph that is too small names."""
    try:
        hider.hide_file(data, cover, KEY)
    except InputError as error:
        width, height = re.findall(r"(\d+) x (\d+)", str(error))[-1]
        return int(width), int(height)
    raise AssertionError("more than the capacity was accepted")
