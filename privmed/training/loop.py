"""Trainings by a recipe: guard, running average, validation, weights around the fitting loop."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from privmed.errors import SettingsError, TrainingError
from privmed.files import whole_file
from privmed.interfaces.fitting import Fitting
from privmed.training.fitting import Loop, averaged, running_average, try_step
from privmed.training.guard import Guard
from privmed.training.optim import make_optimizer, schedule
from privmed.training.recipe import Recipe
from privmed.training.tasks import Task
from privmed.training.team import Team

ROLLBACKS = 10  # more of them are no accident
STRIDE = 1_000_003
APART = 1 << 20  # seeds of the processes of a team
KEPT_EVERY = 120.0  # seconds: what a kill costs at most, where validations are hours apart


class RunFolder(Fitting):
    """The checkpoint of a training, beside its weights; only the same recipe goes on with it."""

    afresh = "Train afresh in another folder."

    def __init__(self, out: Path, recipe: Recipe, team: Team) -> None:
        super().__init__(checkpoint=out / "checkpoint.pt")
        self.out, self.of, self.team = out, recipe.identity(), team

    def keep(self, state: dict[str, Any]) -> None:
        if self.team.first:
            super().keep(state)

    def of_something_else(self, of: dict[str, Any]) -> SettingsError:
        changed = sorted(k for k in {*of, *self.of} if of.get(k) != self.of.get(k))
        return SettingsError(
            f"{self.out}: was begun with another {changed[0]}. Go on with the same recipe (only schedule.steps and "
            "schedule.keep may change), or choose another folder with -o."
        )


class Trainer:
    """Train a task as its recipe says, from the checkpoint in its folder if there is one.

    All processes of a team validate, which keeps them in step; the first writes.
    """

    def __init__(self, task: Task, out: Path) -> None:
        recipe: Recipe = task.recipe
        self.task, self.recipe, self.out, self.team = task, recipe, out, task.team
        self.models = task.models.train()
        self.trained = [p for p in self.models.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(recipe.optimizer, self.trained, task.opponents)
        self.average = running_average(self.models, recipe.optimizer.average)
        self.guard = Guard(recipe.guard.factor, recipe.guard.patience)
        self.learning_rates = self.learning_rates_from(0)
        parts = {"models": self.models, "average": self.average, "optimizer": self.optimizer, "guard": self.guard}
        self.loop = Loop(recipe.schedule.steps, parts, RunFolder(out, recipe, self.team))
        self.loop.notes.setdefault("seconds", 0.0)
        self.loop.notes.setdefault("written", {})  # step and validation of the weights that lie in the folder
        self.learning_rates = self.learning_rates_from(self.loop.done)
        self.good = self.loop.notes.pop("good", None) or self.loop.snapshot()

    @property
    def seconds(self) -> float:
        """Time spent in steps so far."""
        return self.loop.notes["seconds"]

    def fit(self, report) -> dict[str, Any]:
        """Run to the end; ``report(step, figures)`` is called after every step. Returns the validation of the weights that were written."""
        figures: dict[str, float] = {}
        kept = time.monotonic()
        for step in self.loop:
            start = time.perf_counter()
            seen = self.advance(step)
            self.loop.notes["seconds"] += time.perf_counter() - start
            done = self.loop.done
            report(done, seen)
            if seen.get("guard") == "rollback":
                continue  # the step went back to one that has been validated
            if done % self.recipe.schedule.validate == 0 or done == self.loop.total:
                figures = self.checkpoint()
                report(done, {**seen, **{f"validation_{k}": round(v, 4) for k, v in figures.items()}})
            elif time.monotonic() - kept >= KEPT_EVERY:
                self.keep()
            else:
                continue
            kept = time.monotonic()
        written = {k: v for k, v in self.loop.notes["written"].items() if k != "step"}
        return written or figures or self.validate()

    def advance(self, step: int) -> dict[str, Any]:
        """Take one step, or leave it out, or go back, as the guard says."""
        # Dropout draws here; a resumed run has to draw the same.
        torch.manual_seed((self.recipe.seed + self.team.rank * APART) * STRIDE + step)
        loss, seen = self.task.loss(step)
        value, factor = self.team.mean(float(loss.detach())), self.factor(step)
        verdict = self.guard.judge(value)
        if verdict == "step":
            clip, share = self.recipe.optimizer.clip, self.team.share_gradients
            if try_step(loss, self.optimizer, clip, self.trained, share):
                self.team.share(self.models.buffers())  # statistics of batch normalisation
                self.average.update_parameters(self.models)
                self.guard.went_well(value)
            else:
                verdict = self.guard.judge(math.inf)
        if verdict == "rollback":
            self.go_back()
            return {**seen, "loss": value, "rate": factor, "guard": verdict}
        seen = {**seen, "loss": round(value, 7), "rate": factor}
        if verdict == "skip":
            self.learning_rates = self.learning_rates_from(
                step + 1
            )  # one that counts wants a step of the optimizer first
            return {**seen, "guard": verdict}
        self.learning_rates.step()
        return seen

    def go_back(self) -> None:
        """Return to the last good state, at half the learning rate.

        Raises:
            TrainingError: when that happens too often.
        """
        if self.guard.rollbacks > ROLLBACKS:
            raise TrainingError(
                f"{self.recipe.name}: diverges; {ROLLBACKS} times it went back to its last good state and halved the rate. Lower "
                "optimizer.rate, optimizer.clip or the weights of the loss."
            )
        guard, written = self.guard.state_dict(), self.loop.notes["written"]
        self.loop.restore(self.good)
        self.loop.notes["written"] = written  # they still lie there
        self.guard.load_state_dict({**guard, "recent": []})
        self.learning_rates = self.learning_rates_from(self.loop.done)

    def factor(self, step: int) -> float:
        """What the learning rates of the recipe are multiplied by in one step."""
        return self.guard.learning_rate_factor * schedule(step, self.recipe.schedule)

    def learning_rates_from(self, step: int) -> LambdaLR:
        """The schedule, with the optimizer set to one step; a rollback and a resumed run jump, and what they jump to may be changed."""
        return LambdaLR(self.optimizer, self.factor, last_epoch=step - 1)

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on the validation part."""
        with averaged(self.models, self.average), torch.no_grad():
            return self.task.validate()

    def checkpoint(self) -> dict[str, float]:
        """Validate and keep everything; called at fixed steps, which are the places that a rollback goes to."""
        figures = self.validate()
        before = self.loop.notes["written"].get("score", math.nan)
        write = self.recipe.schedule.keep == "last" or math.isnan(before) or figures["score"] > before
        if write:
            self.loop.notes["written"] = {"step": self.loop.done, **figures}
        if self.guard.in_a_row == 0:
            self.good = self.loop.snapshot()
        if self.team.first:
            if write:
                with averaged(self.models, self.average):
                    self.save_weights(figures)
            with whole_file(self.out / "validation.json", overwrite=True) as temporary:
                temporary.write_text(json.dumps({"step": self.loop.done, **figures}) + "\n")
        self.keep()  # after the weights: a run that is cut off in between writes them again
        return figures

    def keep(self) -> None:
        """Write a checkpoint, from which a rollback goes where it would have gone without an interruption."""
        if self.good["done"] != self.loop.done:
            self.loop.notes["good"] = self.good
        self.loop.keep()
        self.loop.notes.pop("good", None)

    def save_weights(self, figures: dict[str, float]) -> None:
        """Write what has been trained so far as weights with a card."""
        from privmed.training.card import save_weights

        save_weights(self.task, self.out, self.loop.done, self.seconds, figures)
