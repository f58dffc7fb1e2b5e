"""What protectors learn with: losses by hand, and steps that go down and stay within their bound."""

import pytest
import torch

from privmed.metrics import task_score
from privmed.training.surrogate import signed_descent, task_loss


def test_loss_of_masks_and_classes_by_hand():
    """Two pixels, p = (0.5, 0.5), y = (1, 0): Dice loss 1 - 1/2, cross-entropy ln 2; each image by itself."""
    truth = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 1, 2)
    both = task_loss(torch.zeros(2, 1, 1, 2), truth)
    assert both.tolist() == pytest.approx([0.5 + 0.693147, 1 / 3 + 0.693147], abs=1e-4)
    classes = task_loss(torch.tensor([[0.0, 0.0], [20.0, 0.0]]), torch.tensor([1, 0]))
    assert classes.tolist() == pytest.approx([0.693147, 0], abs=1e-4)


def test_score_by_hand():
    logits = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]]).view(2, 1, 1, 3)
    truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).view(2, 1, 1, 3)
    assert task_score(logits, truth).tolist() == pytest.approx([0.5, 1], abs=1e-4)
    assert task_score(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])).tolist() == [1, 0]


def test_signed_steps_go_down_within_bound_range_and_support():
    """Down the sum of an image is towards black: by one step each, to the bound, to the end of the range, not beside the support."""
    image = torch.full((1, 1, 2, 2), 0.5)
    image[..., 1, 1] = 0.01
    support = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(1, 1, 2, 2)
    for steps, inside in ((1, -0.03), (2, -0.06), (9, -0.08)):
        found = signed_descent(
            lambda x: x.sum((1, 2, 3)),
            image,
            torch.zeros_like(image),
            epsilon=0.08,
            step=0.03,
            steps=steps,
            support=support,
        )
        assert found.flatten().tolist() == pytest.approx([inside, 0, inside, -0.01], abs=1e-6)
