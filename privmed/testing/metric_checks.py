"""Checks of metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.bench.contracts import Metric
from privmed.testing.protector_checks import sample_pair


def check_metric_gives_a_number_an_item(metric: Metric) -> None:
    """One number for each item of a batch, of its own item alone."""
    found, truth = _compared(metric)
    values = metric(found, truth)
    assert values.shape == (4,), f"got {tuple(values.shape)}"
    assert not values.isnan().any(), "NaN"
    items = torch.cat([metric(f[None], t[None]) for f, t in zip(found, truth)])
    torch.testing.assert_close(values, items)


def check_metric_says_what_it_is(metric: Metric) -> None:
    """It has a title, measures images, masks or classes, and says whether higher or lower is better."""
    assert metric.title
    assert metric.measures in ("images", "masks", "classes"), f"measures is {metric.measures!r}"
    assert metric.better in ("higher", "lower"), f"better is {metric.better!r}"


def _compared(metric: Metric) -> tuple[Tensor, Tensor]:
    images, masks = sample_pair(4, size=(32, 32))
    if metric.measures == "classes":
        return images.mean((2, 3)).softmax(1), torch.tensor([0, 1, 2, 0])
    if metric.measures == "images":
        return (images + 0.1).clamp(0, 1), images
    return (masks * 0.6 + 0.3 * images[:, :1]).clamp(0, 1), masks
