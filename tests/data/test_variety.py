"""What the variety of training pictures must keep: range, shape, 8 bits, determinism, and that it really varies."""

import numpy as np
import pytest
import torch

from privmed.data.variety import CHANGES, vary


@pytest.fixture
def images():
    return torch.rand(6, 3, 40, 56, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_every_change_keeps_shape_and_range_and_changes_the_picture(change, images):
    x = images[0]
    before = x.clone()
    changed = change(x, np.random.default_rng(1))
    assert changed.shape == x.shape
    assert torch.isfinite(changed).all()
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert float((changed - x).abs().mean()) > 1e-3
    assert torch.equal(x, before)


def test_exposure_clips_and_sharpness_sharpens(images):
    x = torch.nn.functional.avg_pool2d(images, 3, 1, 1)[0]
    clipped = [change for seed in range(20) if (change := clipped_share(x, seed)) > 0.15]
    assert len(clipped) >= 5
    by = {f.__name__: f for f in CHANGES}
    energy = lambda y: float(y.diff(dim=-1).square().mean())  # noqa: E731
    assert (
        energy(by["sharpness"](x, np.random.default_rng(0)))
        > energy(x)
        > energy(by["softness"](x, np.random.default_rng(0)))
    )


def clipped_share(x, seed):
    y = CHANGES[0](x, np.random.default_rng(seed))
    return float(((y == 0) | (y == 1)).float().mean())


def test_the_share_is_changed_the_rest_left_alone_and_draws_repeat(images):
    many = images.repeat(20, 1, 1, 1)
    varied = vary(many, 0.5, np.random.default_rng(3))
    changed = (varied != many).flatten(1).any(1).float().mean()
    assert 0.3 < float(changed) < 0.7
    assert torch.equal(varied, vary(many, 0.5, np.random.default_rng(3)))
    on_grid = varied[(varied != many).flatten(1).any(1)] * 255
    assert torch.allclose(on_grid, on_grid.round(), atol=1e-3)
    assert vary(images, 0.0, np.random.default_rng(0)) is images
