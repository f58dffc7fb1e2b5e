"""The wrong output that targeted noise teaches, and the surrogate it is made on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.interfaces import Protector
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.metrics import task_score
from privmed.training.fitting import Loop, optimizer_step, reset
from privmed.training.surrogate import Surrogate, task_loss


def wrong_target(truth: Tensor, classes: int, shift: int) -> Tensor:
    """The inverted mask, or the class ``shift`` further on."""
    return 1 - truth if truth.ndim == 4 else (truth + shift) % classes


def train_clean(
    protector: Protector,
    surrogate: Surrogate,
    pairs: TrainingPairs,
    fitting: Fitting,
    keep: Callable[[int], None] = lambda _: None,
) -> None:
    """Train a surrogate on clean pairs, by the protector's settings epochs, batch, learning_rate and seed.

    Args:
        protector: whose settings and precision count, and whose state is checkpointed.
        surrogate: what is trained.
        pairs: what it is trained on.
        fitting: progress and checkpoints.
        keep: called after every epoch with its number.
    """
    c = protector.config
    reset(surrogate, lambda: Surrogate(c.classes, c.width), c.seed)
    optimizer = torch.optim.Adam(surrogate.parameters(), c.learning_rate)
    loop = Loop(c.epochs, {"model": protector, "optimizer": optimizer}, fitting)
    for epoch in loop:
        surrogate.train()
        scores: list[Tensor] = []
        for chosen in pairs.epoch(c.batch, c.seed, epoch):
            image, truth = (x.to(protector.device) for x in pairs.batch(chosen))
            with protector.subnets():
                logits = surrogate(image)
            optimizer_step(task_loss(logits, truth).mean(), optimizer)
            scores.append(task_score(logits.detach().float(), truth))
        keep(epoch)
        loop.keep()
        loop.report("surrogate", score=float(torch.cat(scores).mean()))


def check_classes(name: str, classes: int, pairs: TrainingPairs) -> None:
    """Hold the setting ``classes`` against the data.

    Raises:
        InputError: when they do not agree.
    """
    found = 0 if pairs.task == "segmentation" else int(pairs.labels.max()) + 1
    if (found == 0) != (classes == 0) or found > classes:
        said = f"{found} classes" if found else "masks"
        raise InputError(
            f"{name}: the data set has {said}, but the setting classes is {classes}. Use --set classes={found}."
        )
