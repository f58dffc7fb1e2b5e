"""Optimizers and the schedule of a recipe. Muon: momentum whose direction is orthogonalised, for kernels; Adam for everything else.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with the step scaled to that of Adam as in
J. Liu et al., "Muon is Scalable for LLM Training", 2025.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from privmed.training.recipe import OptimizerRecipe, ScheduleRecipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration (Jordan 2024)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Replace each matrix of (N, rows, columns) by (nearly) its nearest semi-orthogonal one; singular values land in [0.7, 1.2]."""
    x = matrices.bfloat16()
    transposed = x.shape[1] > x.shape[2]
    x = x.mT if transposed else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if transposed else x).float()


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more dimensions, Adam for vectors.

    Args:
        parameters: what to optimise.
        lr: step of the kernels, in units of Adam's (1e-3 to 5e-3 is usual here).
        vector_lr: step of Adam on biases and other vectors; None for ``lr``.
        momentum: of the kernels.
        betas: of Adam.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 2e-3,
        vector_lr: float | None = None,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        parameters = list(parameters)
        shared = {"momentum": momentum, "betas": betas}
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "lr": lr, "kernels": True},
            {"params": [p for p in parameters if p.ndim < 2], "lr": vector_lr or lr, "kernels": False},
        ]
        super().__init__([g for g in groups if g["params"]], shared)

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step."""
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            (self._step_kernels if group["kernels"] else self._step_vectors)(group, trained)

    def _step_kernels(self, group: dict, parameters: list[nn.Parameter]) -> None:
        alike: dict[tuple, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for p in parameters:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            direction = p.grad.lerp(state["momentum"], group["momentum"])
            alike[tuple(p.shape)].append((p, direction.reshape(p.shape[0], -1)))
        for members in alike.values():  # equal shapes share one batched iteration
            directions = orthogonalise(torch.stack([d for _, d in members]))
            step = 0.2 * math.sqrt(max(directions.shape[1:]))
            for (p, _), direction in zip(members, directions):
                p.add_(direction.reshape(p.shape), alpha=-group["lr"] * step)

    def _step_vectors(self, group: dict, parameters: list[nn.Parameter]) -> None:
        beta1, beta2 = group["betas"]
        for p in parameters:
            state = self.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            state["mean"].lerp_(p.grad, 1 - beta1)
            state["square"].lerp_(p.grad.square(), 1 - beta2)
            correction = math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
            p.addcdiv_(state["mean"], state["square"].sqrt().add_(1e-8), value=-group["lr"] * correction)


def make_optimizer(
    recipe: OptimizerRecipe, parameters: list[nn.Parameter], opponents: list[nn.Parameter] | None = None
) -> torch.optim.Optimizer:
    """The optimizer a recipe names; ``opponents`` are those of the parameters whose rates are multiplied by ``adversary``."""
    if recipe.name == "muon":
        optimizer = Muon(parameters, recipe.rate, recipe.vector_rate)
    else:
        optimizer = torch.optim.AdamW(parameters, recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay)
    if recipe.adversary != 1 and opponents:
        apart = {id(p) for p in opponents}
        for group in list(optimizer.param_groups):
            theirs = [p for p in group["params"] if id(p) in apart]
            group["params"] = [p for p in group["params"] if id(p) not in apart]
            if theirs:
                optimizer.add_param_group({**group, "params": theirs, "lr": group["lr"] * recipe.adversary})
    return optimizer


def schedule(step: int, recipe: ScheduleRecipe) -> float:
    """Factor on the learning rate: linear warm-up, constant, and a cosine down to zero in the last part."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    length = recipe.cooldown * recipe.steps
    left = recipe.steps - step
    return warm * (1.0 if left >= length else 0.5 * (1 - math.cos(math.pi * left / length)))
