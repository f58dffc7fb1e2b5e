"""Checks of hiders."""

from __future__ import annotations

import copy

import torch

from privmed.errors import InputError, KeyFileError
from privmed.interfaces import Hider
from privmed.interfaces.abilities import abilities
from privmed.shared_key import with_key
from privmed.testing import shared
from privmed.testing.samples import sample_images


def _recover(hider: Hider):
    return lambda stego, _other, **more: hider.recover(stego, **more)


def check_hide_keeps_shape_dtype_and_range(hider: Hider) -> None:
    """hide() gives float32 (B, 3, H, W) in [0, 1] for grey and colour, at any size of at least 32."""
    shared.image_to_image(hider.hide)


def check_recover_keeps_shape_dtype_and_range(hider: Hider) -> None:
    """recover() gives float32 (B, 3, H, W) in [0, 1] for grey and colour, at any size of at least 32."""
    shared.image_to_image(_recover(hider))


def check_cover_of_any_size_is_fitted(hider: Hider) -> None:
    """A stego has its secret's size, whatever the cover's; one cover serves a batch."""
    secret, _ = sample_images(2, size=(40, 56))
    for size in ((32, 32), (200, 50), (41, 300)):
        _, cover = sample_images(1, size=size)
        assert hider.hide(secret, cover).shape == secret.shape


def check_unclamped_recovery_agrees(hider: Hider) -> None:
    """recover(clamp=False) clamps to recover()."""
    stego, _ = sample_images(1)
    assert torch.equal(hider.recover(stego, clamp=False).clamp(0, 1), hider.recover(stego))


def check_inputs_are_left_alone(hider: Hider) -> None:
    """hide() and recover() do not write into the tensors they are given."""
    shared.inputs_untouched(hider.hide)
    shared.inputs_untouched(_recover(hider))


def check_same_seed_same_bytes(hider: Hider) -> None:
    """The same seed gives the same bytes; the global generator is left alone."""
    shared.deterministic(hider.hide)
    shared.deterministic(_recover(hider))


def check_batch_equals_items(hider: Hider) -> None:
    """A batch gives what its items give one by one, up to the rounding of other kernels."""
    shared.batch_equals_items(hider.hide)
    shared.batch_equals_items(_recover(hider))


def check_gradients_on_request(hider: Hider) -> None:
    """Gradients flow to an input that asks for them, and nothing is recorded otherwise."""
    shared.gradients_on_request(hider.hide)
    shared.gradients_on_request(_recover(hider))


def check_training_mode_records_gradients(hider: Hider) -> None:
    """In training mode the public methods give gradients to the parameters, so that a training calls nothing private."""
    shared.trainable(hider, lambda: hider.hide(*sample_images(1), clamp=False))
    shared.trainable(hider, lambda: hider.recover(sample_images(1)[0], clamp=False))


def check_unclamped_stego_agrees(hider: Hider) -> None:
    """hide(clamp=False) clamps to hide()."""
    secret, cover = sample_images(1)
    assert torch.equal(hider.hide(secret, cover, clamp=False).clamp(0, 1), hider.hide(secret, cover))


def check_stages_compose_to_the_whole(hider: Hider) -> None:
    """Ability ``stages``: all stages in one go, in two, and hide() give the same stego, and running back undoes running."""
    if "stages" not in abilities(hider):
        return
    secret, cover = sample_images(1)
    with torch.no_grad():
        state = hider.encode(secret, cover)
        for part, image in zip(state, (cover, secret)):
            torch.testing.assert_close(hider.picture(part), image, atol=1e-5, rtol=0)
        whole = hider.run(state, 0, hider.stages)
        half = hider.run(hider.run(state, 0, hider.stages // 2), hider.stages // 2, hider.stages)
        assert all(torch.equal(a, b) for a, b in zip(whole, half))
        torch.testing.assert_close(hider.picture(whole[0]), hider.hide(secret, cover, clamp=False), atol=2e-2, rtol=0)
        back = hider.run(whole, hider.stages, 0)
        for part, image in zip(back, (cover, secret)):
            torch.testing.assert_close(hider.picture(part), image, atol=2e-2, rtol=0)
        assert hider.latent(whole[1], torch.Generator().manual_seed(0)).shape == whole[1].shape


def check_forks_hide_in_their_own_way(hider: Hider) -> None:
    """Ability ``fork``: the same seed gives the same relative, another seed another one, and a relative hides and recovers."""
    if "fork" not in abilities(hider):
        return
    made = [copy.deepcopy(hider) for _ in range(3)]
    for relative, seed in zip(made, (1, 1, 2)):
        relative.fork(torch.Generator().manual_seed(seed))
    states = [relative.state_dict() for relative in made]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items()), "the same seed gives different relatives"
    if any(v.is_floating_point() and v.abs().sum() > 0 for v in hider.state_dict().values()):
        assert any(not torch.equal(v, states[2][k]) for k, v in states[0].items()), "different seeds give one relative"
    secret, cover = sample_images(1)
    assert made[0].recover(made[0].hide(secret, cover)).shape == cover.shape[:2] + secret.shape[-2:]


def check_the_key_is_kept_apart(hider: Hider) -> None:
    """Ability ``use_key``: the same key gives the same bytes, it is no part of the weights, and what is no key is refused."""
    if "use_key" not in abilities(hider):
        return
    images = sample_images(1)
    before = hider.state_dict()
    stegos = [with_key(hider, seed).hide(*images) for seed in (1, 1, 2)]
    assert torch.equal(stegos[0], stegos[1]), "the same key gives different stegos"
    assert not torch.equal(stegos[0], stegos[2]), "two keys give the same stego"
    after = hider.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(v, after[k]) for k, v in before.items()), "a key changes the weights"
    for bad in ("words", bytes(32), None):
        try:
            hider.use_key(bad)
        except KeyFileError as error:
            assert str(error).startswith("key:")
        else:
            raise AssertionError(f"use_key({bad!r}) was not refused")


def check_bad_secrets_are_refused(hider: Hider) -> None:
    """Every bad secret is answered by one sentence that names it."""
    shared.bad_inputs_refused(hider.hide, "secret")


def check_bad_covers_are_refused(hider: Hider) -> None:
    """Every bad cover is answered by one sentence that names it."""
    shared.bad_inputs_refused(lambda cover, secret: hider.hide(secret, cover), "cover")


def check_bad_stegos_are_refused(hider: Hider) -> None:
    """Every bad stego is answered by one sentence that names it."""
    shared.bad_inputs_refused(_recover(hider), "stego")


def check_batches_must_match(hider: Hider) -> None:
    """Two covers for three secrets is an error, not a guess."""
    secret, _ = sample_images(3)
    _, cover = sample_images(2)
    try:
        hider.hide(secret, cover)
    except InputError as error:
        assert "batch" in str(error)
        return
    raise AssertionError("two covers for three secrets were accepted")
