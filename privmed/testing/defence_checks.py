"""Checks of defences."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from privmed.bench.contracts import Defence
from privmed.testing.protector_checks import sample_pair


def _batch(channels: int = 3) -> tuple[Tensor, Tensor]:
    return sample_pair(4, size=(32, 32), channels=channels)


def check_prepare_keeps_what_images_are(defence: Defence) -> None:
    """prepare() gives uint8 images of the shape it was given, grey and colour, and leaves its input alone."""
    for channels in (1, 3):
        images = (_batch(channels)[0] * 255).round().byte()
        before = images.clone()
        out = defence.prepare(images)
        assert out.shape == images.shape, f"{channels} channels: got {tuple(out.shape)}"
        assert out.dtype == torch.uint8, f"got {out.dtype}"
        assert torch.equal(images, before), "the input was written to"


def check_purify_and_deploy_keep_what_images_are(defence: Defence) -> None:
    """purify() and deploy() give uint8 images of the shape they were given, for masks or classes (its ``tasks``), and leave it alone."""
    for channels in (1, 3):
        images, masks = ((x * top).round().byte() for x, top in zip(_batch(channels), (255, 1)))
        before = images.clone(), masks.clone()
        truths = [masks, torch.zeros_like(masks)] if "segmentation" in defence.tasks else []
        truths += [torch.arange(len(images))] if "classification" in defence.tasks else []
        changed = [defence.purify(images, truth) for truth in truths]
        for out in (*changed, defence.deploy(images)):
            assert out.shape == images.shape, f"{channels} channels: got {tuple(out.shape)}"
            assert out.dtype == torch.uint8, f"got {out.dtype}"
        assert torch.equal(images, before[0]), "the input was written to"
        assert torch.equal(masks, before[1]), "the masks were written to"


def check_tasks_are_known(defence: Defence) -> None:
    """``tasks`` names segmentation, classification, or both."""
    assert defence.tasks, "tasks is empty"
    assert set(defence.tasks) <= {"segmentation", "classification"}, f"tasks is {defence.tasks}"


def check_clean_images_are_a_share(defence: Defence) -> None:
    """What is stopped by clean images needs some; a share lies in [0, 1)."""
    assert 0 <= defence.clean < 1, f"clean is {defence.clean}"
    assert defence.clean > 0 or not defence.validates, "validates without clean images"


def check_adapted_network_keeps_its_outputs(defence: Defence) -> None:
    """adapt() gives a network of the same outputs."""
    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    assert defence.adapt(network)(_batch()[0]).shape == (4, 1, 32, 32)


def check_augment_keeps_images_and_masks(defence: Defence) -> None:
    """augment() keeps shapes and the range of images, masks stay 0 or 1, and all randomness comes from its generator."""
    images, masks = _batch()
    state = torch.get_rng_state()
    first, again = (defence.augment(images.clone(), masks.clone(), np.random.default_rng(7)) for _ in range(2))
    assert first[0].shape == images.shape
    assert first[1].shape == masks.shape
    assert first[0].min() >= 0
    assert first[0].max() <= 1
    assert set(first[1].unique().tolist()) <= {0.0, 1.0}
    assert all(torch.equal(a, b) for a, b in zip(first, again)), "the same generator gave another result"
    assert torch.equal(state, torch.get_rng_state()), "the global random state was moved"


def check_harden_keeps_images(defence: Defence) -> None:
    """harden() gives images of the same shape, in [0, 1]."""
    images, masks = _batch()
    out = defence.harden(images.clone(), lambda x: ((x - masks) ** 2).mean())
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1
