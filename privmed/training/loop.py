"""The loop: steps, guard, running average, validation, checkpoints, weights."""

from __future__ import annotations

import copy
import json
import math
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from privmed.errors import SettingsError, TrainingError, WeightsError
from privmed.files import whole_file, write_tensors
from privmed.training.guard import Guard
from privmed.training.optim import Muon
from privmed.training.recipe import Recipe
from privmed.training.tasks import Task
from privmed.weights import load_checkpoint

ROLLBACKS = 10  # more of them are no accident
STRIDE = 1_000_003


class Average:
    """Running average of everything in a module's state, warmed up from a plain mean."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present state."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, weight)
            else:
                self.shadow[name].copy_(value)

    @contextmanager
    def applied(self):
        """Let the module hold the average for a while, in evaluation mode."""
        present = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.shadow)
        self.module.eval()
        try:
            yield
        finally:
            self.module.load_state_dict(present)
            self.module.train()


class Trainer:
    """Train a task as its recipe says; everything that decides the result lives in ``state()``."""

    def __init__(self, task: Task, out: Path) -> None:
        recipe: Recipe = task.recipe
        self.task, self.recipe, self.out = task, recipe, out
        self.models = task.models.train()
        self.trained = [p for p in self.models.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(recipe, self.trained)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = Average(self.models, recipe.optimizer.average)
        self.guard = Guard(recipe.guard.factor, recipe.guard.patience)
        self.step, self.seconds = 0, 0.0
        self.good: dict[str, Any] | None = None

    def fit(self, report) -> dict[str, Any]:
        """Run to the end; ``report(step, figures)`` is called after every step. Returns the last validation."""
        figures: dict[str, float] = {}
        self.good = self.good or copy.deepcopy(self.state())
        while self.step < self.recipe.schedule.steps:
            start = time.perf_counter()
            seen = self.advance()
            self.seconds += time.perf_counter() - start
            report(self.step, seen)
            if seen.get("guard") == "rollback":
                continue  # the step went back to one that has been validated
            if self.step % self.recipe.schedule.validate == 0 or self.step == self.recipe.schedule.steps:
                figures = self.checkpoint()
                report(self.step, {**seen, **{f"validation_{k}": round(v, 4) for k, v in figures.items()}})
        return figures or self.validate()

    def advance(self) -> dict[str, Any]:
        """Take one step, or leave it out, or go back, as the guard says."""
        torch.manual_seed(
            self.recipe.seed * STRIDE + self.step
        )  # dropout draws here; a resumed run has to draw the same
        loss, seen = self.task.loss(self.step)
        rate = self.guard.rate * schedule(self.step, self.recipe)
        verdict = self.guard.judge(float(loss.detach()))
        if verdict == "step":
            if self.descend(loss, rate):
                self.guard.went_well(float(loss.detach()))
            else:
                verdict = self.guard.judge(math.inf)
        if verdict == "rollback":
            if self.guard.rollbacks > ROLLBACKS:
                raise TrainingError(
                    f"{self.recipe.name}: diverges; {ROLLBACKS} times it went back to its last good state and halved the rate. Lower "
                    "optimizer.rate, optimizer.clip or the weights of the loss."
                )
            guard = self.guard.state()
            self.restore(copy.deepcopy(self.good))
            self.guard.restore({**guard, "recent": []})
            return {**seen, "loss": float(loss.detach()), "rate": rate, "guard": verdict}
        self.step += 1
        return {
            **seen,
            "loss": round(float(loss.detach()), 7),
            "rate": rate,
            **({"guard": verdict} if verdict != "step" else {}),
        }

    def descend(self, loss: Tensor, rate: float) -> bool:
        """One optimizer step; False, and none, when the gradient is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.optimizer.clip)
        if not torch.isfinite(norm):
            return False
        for group, base in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = base * rate
        self.optimizer.step()
        self.average.update()
        return True

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on the validation part."""
        with self.average.applied(), torch.no_grad():
            return self.task.validate()

    def checkpoint(self) -> dict[str, float]:
        """Validate and keep everything; called at fixed steps, so that a rollback after a resume goes to the same place."""
        figures, state = self.validate(), copy.deepcopy(self.state())
        if self.guard.in_a_row == 0:
            self.good = state
        write_tensors(self.out / "checkpoint.pt", {**state, "recipe": self.task.recipe.identity()})
        with self.average.applied():
            with whole_file(self.out / "validation.json", overwrite=True) as temporary:
                temporary.write_text(json.dumps({"step": self.step, **figures}) + "\n")
            self.save_weights(figures)
        return figures

    def save_weights(self, figures: dict[str, float]) -> None:
        """Write what has been trained so far as weights with a card."""
        from privmed.training.card import save_weights

        save_weights(self.task, self.out, self.step, self.seconds, figures)

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs: batches are drawn from (seed, step), so no generator is in it."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "models": self.models.state_dict(),
            "average": self.average.shadow,
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state`."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.models.load_state_dict(state["models"])
        for name, value in state["average"].items():
            self.average.shadow[name].copy_(value)
        self.average.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.restore(state["guard"])

    def resume(self) -> None:
        """Go on from the checkpoint in ``out``."""
        path = self.out / "checkpoint.pt"
        try:
            state = load_checkpoint(path, self.task.device)
            begun = state.get("recipe")
        except WeightsError:
            raise
        except Exception as error:  # a damaged archive can fail in any way
            raise WeightsError(f"checkpoint {path}: cannot be read. Train afresh in another folder.") from error
        now = self.recipe.identity()
        if begun is not None and begun != now:
            changed = sorted(k for k in {*begun, *now} if begun.get(k) != now.get(k))
            raise SettingsError(
                f"{self.out}: was begun with another {changed[0]}. Go on with the same recipe (only schedule.steps may change), or choose "
                "another folder with -o."
            )
        self.restore(state)
        self.good = copy.deepcopy(self.state())


def make_optimizer(recipe: Recipe, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer a recipe names."""
    o = recipe.optimizer
    if o.name == "muon":
        return Muon(parameters, o.rate, o.vector_rate)
    return torch.optim.AdamW(parameters, o.rate, betas=(0.9, 0.99), weight_decay=o.decay)


def schedule(step: int, recipe: Recipe) -> float:
    """Factor on the rate: linear warm-up, constant, and a cosine down to zero in the last part."""
    s = recipe.schedule
    warm = min(1.0, (step + 1) / s.warmup) if s.warmup else 1.0
    length = s.cooldown * s.steps
    left = s.steps - step
    return warm * (1.0 if left >= length else 0.5 * (1 - math.cos(math.pi * left / length)))
