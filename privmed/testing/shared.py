"""Checks that hiders and analyzers share: they map image batches to image batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.testing.samples import sample_images

Call = Callable[..., Tensor]

# A batch takes other kernels than its items; in bfloat16 that moves a sub-network's answer by about 4e-3 (half a per cent),
# and a network of several of them by a few times that.
BATCH_TOLERANCE = 2e-2


def image_to_image(call: Call) -> None:
    """Shape, dtype and range are kept for grey and colour, at odd and smallest sizes."""
    for size, channels in (((48, 64), 3), ((33, 47), 1), ((32, 32), 3), ((32, 71), 3)):
        first, second = sample_images(2, size=size, channels=channels)
        out = call(first, second)
        assert out.shape == (2, 3, *size), f"{channels} channels at {size}: got {tuple(out.shape)}"
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1


def inputs_untouched(call: Call) -> None:
    """The tensors handed in are not written to; at a size that needs no padding, which would make a copy."""
    images = sample_images(2, size=(64, 64))
    before = [x.clone() for x in images]
    call(*images)
    assert all(torch.equal(a, b) for a, b in zip(images, before))


def deterministic(call: Call) -> None:
    """The same seed gives the same bytes, and the global generator is left alone."""
    first, second = sample_images(1)
    state = torch.get_rng_state()
    once = call(first, second, generator=7)
    torch.rand(3)
    again = call(first, second, generator=7)
    assert torch.equal(once, again), "the same seed gave another result"
    torch.set_rng_state(state)
    call(first, second)
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"


def batch_equals_items(call: Call) -> None:
    """A batch gives what its items give one by one, up to the rounding of other kernels."""
    first, second = sample_images(3)
    whole = call(first, second)
    items = torch.cat([call(a[None], b[None]) for a, b in zip(first, second)])
    assert (whole - items).abs().max() <= BATCH_TOLERANCE


def gradients_on_request(call: Call) -> None:
    """Gradients flow to an input that asks for them; nothing is recorded otherwise."""
    first, second = sample_images(1)
    assert not call(first, second).requires_grad
    first.requires_grad_(True)
    call(first, second).mean().backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


BAD = {
    "an array": lambda x: x.numpy(),
    "integers": lambda x: (x * 255).byte(),
    "three dimensions": lambda x: x[0],
    "four channels": lambda x: torch.cat([x, x[:, :1]], 1),
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "an empty batch": lambda x: x[:0],
    "31 rows": lambda x: x[..., :31, :],
    "one pixel": lambda x: x[..., :1, :1],
    "NaN": lambda x: x.masked_fill(x > 0.5, torch.nan),
    "infinity": lambda x: x.masked_fill(x > 0.5, torch.inf),
    "a range of 255": lambda x: x * 255,
    "negative values": lambda x: x - 0.5,
}


def bad_inputs_refused(call: Call, name: str, leave_out: tuple[str, ...] = ()) -> None:
    """Every bad input is an InputError whose one sentence begins with the input's name."""
    for what, spoil in BAD.items():
        if what in leave_out:
            continue
        first, second = sample_images(1)
        try:
            call(spoil(first), second)
        except InputError as error:
            assert str(error).startswith(f"{name}:"), f"{what}: the message does not name {name}: {error}"
            continue
        raise AssertionError(f"{name}: {what} was accepted")


def trainable(method, call: Callable[[], Tensor]) -> None:
    """In training mode ``call()`` records gradients that reach the parameters, in evaluation mode it records none."""
    if not any(p.requires_grad for p in method.parameters()):
        return
    method.eval()
    assert not call().requires_grad, "gradients are recorded in evaluation mode, where nobody asked for them"
    method.train()
    try:
        out = call()
        assert out.requires_grad, "no gradient is recorded in training mode"
        found = torch.autograd.grad(out.sum(), [p for p in method.parameters() if p.requires_grad], allow_unused=True)
        assert any(g is not None for g in found), "no parameter has a gradient in training mode"
    finally:
        method.eval()
