"""LightIH under a key: what the key decides, where the salt lies, and that nothing of a scan is seen without the key."""

import copy

import pytest
import torch
from privmed_hiders.hinet import bands
from privmed_hiders.keyed import (
    CARRIER,
    KeyedBlock,
    KeyedLightIH,
    Order,
    coordinates,
    read_salts,
    salt_of,
    salt_pixels,
    write_salts,
)

from privmed import registry
from privmed.errors import KeyFileError
from privmed.imaging import quantise
from privmed.metrics import psnr
from privmed.shared_key import SharedKey, with_key
from privmed.testing import parametrize_with_checks

pytest.importorskip("cryptography")
KEY, OTHER = SharedKey(bytes(range(32))), SharedKey(bytes(range(1, 33)))
SALTS = [bytes(range(16)), bytes(range(16, 32))]


@parametrize_with_checks("hider:lightih-keyed")
def test_lightih_keyed_conforms(method, check):
    check(method)


def images(seed, count=2, size=(64, 80)):
    """Smooth random images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    return torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)


@pytest.fixture
def hider():
    """LightIH's networks under a key; nobody trained them for it, and still they give something back."""
    made = registry.create("hider", "lightih-keyed", weights=None)
    made.load_state_dict(registry.create("hider", "lightih", weights="broad").state_dict())
    made.use_key(KEY)
    return made


def test_coordinates_are_orthogonal_and_the_carrier_is_colour_of_details():
    basis = coordinates()
    torch.testing.assert_close(basis @ basis.T, torch.eye(12))
    grey = bands(images(0)[:, :1].expand(-1, 3, -1, -1))
    carrier = torch.einsum("kc,bchw->bkhw", basis[-CARRIER:], grey)
    assert carrier.abs().max() < 1e-6
    low = torch.zeros(12)
    low[:3] = 1
    assert (basis[-CARRIER:] @ low).abs().max() < 1e-6


def test_scrambling_is_undone_and_keeps_all_but_the_carrier():
    stack = torch.randn(2, 12, 16, 20)
    order = Order(KEY, SALTS, (16, 20), stack.device)
    scrambled = order.scramble(stack)
    torch.testing.assert_close(order.restore(scrambled), stack)
    basis = coordinates()
    before, after = (torch.einsum("kc,bchw->bkhw", basis, x) for x in (stack, scrambled))
    torch.testing.assert_close(before[:, :-CARRIER], after[:, :-CARRIER])
    moved = after[:, -CARRIER:].flatten(1)
    torch.testing.assert_close(moved.abs().sort().values, before[:, -CARRIER:].flatten(1).abs().sort().values)
    assert (moved * before[:, -CARRIER:].flatten(1)).mean(1).abs().max() < 0.1  # no value where it was
    assert not torch.equal(order.order[0], order.order[1])


def test_the_rim_stays_a_rim():
    order = Order(KEY, SALTS[:1], (6, 5), torch.device("cpu")).order.view(CARRIER, 6, 5)
    row, column = order // 5 % 6, order % 5
    of_rim = (row == 5) | (column == 4)
    assert of_rim[:, -1].all()
    assert of_rim[:, :, -1].all()
    assert not of_rim[:, :-1, :-1].any()
    assert order.unique().numel() == order.numel()


def test_a_block_writes_nowhere_but_on_the_carrier(hider):
    cover, secret = (torch.randn(1, 12, 16, 16) for _ in range(2))
    block = hider.blocks[0]
    assert isinstance(block, KeyedBlock)
    after, _ = block(cover, secret)
    change = torch.einsum("kc,bchw->bkhw", coordinates(), after - cover)
    assert change[:, :-CARRIER].abs().max() < 1e-5
    assert change[:, -CARRIER:].abs().max() > 0.01


def test_the_key_decides_what_is_read(hider):
    secret, cover = images(1), images(2)
    stego = hider.hide(secret, cover, clamp=False)
    right = hider.recover(stego, check_values=False)
    hider.use_key(OTHER)
    wrong = hider.recover(stego, check_values=False)
    assert psnr(right, secret).min() > psnr(wrong, secret).max() + 5
    hider.use_key(KEY)
    assert torch.equal(hider.recover(stego, check_values=False), right)


def test_every_pair_has_an_order_of_its_own_and_the_same_one_every_time(hider):
    secret, cover = images(1, 1), images(2, 1)
    salts = {
        salt_of(s[0], c[0], key)
        for key in (KEY, OTHER)
        for s, c in ((secret, cover), (cover, secret), (secret, cover + 1e-6), (secret * 0.999, cover))
    }
    assert len(salts) == 8
    assert salt_of(secret[0], cover[0], KEY) == salt_of(secret[0].double().float(), cover[0], KEY)
    assert torch.equal(hider.hide(secret, cover), hider.hide(secret, cover))


def test_salts_survive_the_file_and_odd_sizes():
    for size in ((32, 32), (64, 80)):
        stego = torch.rand(2, 3, *size)
        stego[0, 0], stego[1, 0] = 0.0, 1.0  # at both ends of the range
        marked = write_salts(stego, SALTS)
        assert read_salts(quantise(marked)) == SALTS
        assert (marked - stego).abs().max() <= 1.001 / 255
        rows, columns = salt_pixels(*size)
        assert len(set(zip(rows, columns))) == 128
        assert rows.max() < size[0] - 1
        assert columns.max() < size[1] - 1
        assert torch.equal(marked[:, 1:], stego[:, 1:])


def test_an_odd_size_comes_back(hider):
    secret, cover = images(3, 1, (56, 64))[..., :55, :63], images(4, 1, (56, 64))[..., :55, :63]
    stego = quantise(hider.hide(secret, cover))
    whole = hider.recover(stego)
    assert whole.shape == secret.shape
    hider.use_key(OTHER)
    assert psnr(whole, secret) > psnr(hider.recover(stego), secret) + 3


def test_refining_leaves_the_salt_alone(hider):
    secret, cover = images(5, 1, (64, 80))[..., :63, :79], images(6, 1)[..., :63, :79]
    plain, refined = hider.hide(secret, cover), hider.hide(secret, cover, refine=3)
    assert not torch.equal(plain, refined)
    rows, columns = salt_pixels(64, 80)
    assert torch.equal(plain[:, 0, rows, columns], refined[:, 0, rows, columns])


def test_without_a_key_nothing_is_hidden_or_read():
    hider = KeyedLightIH()
    for call in (lambda: hider.hide(images(0), images(1)), lambda: hider.recover(images(0))):
        with pytest.raises(KeyFileError, match=r"has no key. Give one with use_key"):
            call()
    for bad in ("words", bytes(32), None):
        with pytest.raises(KeyFileError, match=r"expected a privmed\.shared_key"):
            hider.use_key(bad)


def test_the_key_is_no_part_of_what_is_saved_or_shown(hider):
    assert not any("key" in name for name in hider.state_dict())
    assert KEY.secret.hex() not in repr(hider)
    assert "secret" not in repr(KEY)
    assert copy.deepcopy(hider)._key is hider._key or copy.deepcopy(hider)._key == KEY


def test_keys_for_tests_are_drawn_by_a_seed(hider):
    first = with_key(hider, 3)._key
    assert with_key(hider, 3)._key == first
    assert with_key(hider, 4)._key != first
    plain = registry.create("hider", "lightih", weights=None)
    assert with_key(plain) is plain


def test_half_of_the_signs_are_turned():
    signs = Order(KEY, SALTS, (16, 20), torch.device("cpu")).signs
    assert signs.abs().eq(1).all()
    assert (signs.mean(1).abs() < 0.1).all()
