"""The wrong answer that targeted noise teaches, and the surrogate it is made on."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from privmed.errors import InputError
from privmed.interfaces import Protector
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.training.surrogate import Surrogate, agreement, descend, supervised


def wrong_answer(truth: Tensor, classes: int, shift: int) -> Tensor:
    """The inverted mask, or the class ``shift`` further on."""
    return 1 - truth if truth.ndim == 4 else (truth + shift) % classes


def train_clean(
    protector: Protector,
    surrogate: Surrogate,
    pairs: TrainingPairs,
    fitting: Fitting,
    keep: Callable[[int], None] = lambda _: None,
) -> None:
    """Train a surrogate on clean pairs, by the protector's settings epochs, batch, rate and seed.

    Args:
        protector: whose settings and precision count, and whose state is checkpointed.
        surrogate: what is trained.
        pairs: what it is trained on.
        fitting: progress and checkpoints.
        keep: called after every epoch with its number.
    """
    c, done = protector.config, 0
    torch.manual_seed(c.seed)
    surrogate.load_state_dict(Surrogate(c.classes, c.width).state_dict())
    optimizer = torch.optim.Adam(surrogate.parameters(), c.rate)
    if (state := fitting.restore()) is not None:
        done = state["epoch"]
        protector.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for epoch in range(done, c.epochs):
        surrogate.train()
        scores: list[Tensor] = []
        for chosen in pairs.epoch(c.batch, c.seed, epoch):
            image, truth = (x.to(protector.device) for x in pairs.batch(chosen))
            with protector.subnets():
                logits = surrogate(image)
            descend(supervised(logits, truth).mean(), optimizer)
            scores.append(agreement(logits.detach().float(), truth))
        keep(epoch)
        fitting.keep(
            {"epoch": epoch + 1, "model": copy.deepcopy(protector.state_dict()), "optimizer": optimizer.state_dict()}
        )
        fitting.tell("surrogate", epoch + 1, c.epochs, score=float(torch.cat(scores).mean()))


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
