"""Training analyzers: on bare images, or behind a hider."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import registry
from privmed.data.augment import augment
from privmed.data.folders import Item
from privmed.data.pixels import PictureStore, load_mask
from privmed.errors import InputError
from privmed.imaging.quantise import quantise
from privmed.metrics import task_score
from privmed.pipeline import Pipeline
from privmed.training.losses import dice_ce
from privmed.training.recipe import Recipe
from privmed.training.tasks import CoverTask, Figures, Task, likeness, logged


def task_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """L_mia of HideMIA, Eq. 8: Dice and cross-entropy of a mask, cross-entropy alone of a class."""
    return F.cross_entropy(logits, truth) if logits.ndim == 2 else dice_ce(logits, truth)


class Bare(Task):
    """Train a segmenter or classifier on the bare images: what covert analysis is held against."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.classes = self._classes()
        self.scans = PictureStore(recipe.data.crop, squash=True)
        self.full = PictureStore(recipe.data.size, squash=True)
        self.masks: dict = {}
        self.measure = "accuracy" if self.classes else "dice"

    def _classes(self) -> list[str]:
        """Names of the classes, in alphabetical order; empty for segmentation.

        Raises:
            InputError: when the data have no masks to segment, or not as many classes as the method expects.
        """
        items = [i for part in (*self.training, *self.held) for i in part]
        wanted = getattr(self.method.config, "classes", 0)
        if not wanted:
            if any(i.mask is None for i in items):
                raise InputError(f"{self.sources[0].path}: has no masks/, so nothing to segment.")
            return []
        names = sorted({i.label for i in items if i.label is not None})
        if len(names) != wanted or any(i.label is None for i in items):
            raise InputError(
                f"{self.sources[0].path}: has classes {', '.join(names) or 'none'}, but the method expects {wanted}."
            )
        return names

    def truth(self, items: list[Item], size: int) -> Tensor:
        """Masks (B, 1, size, size), or class numbers (B,)."""
        if self.classes:
            return torch.tensor([self.classes.index(i.label) for i in items], device=self.device)
        return torch.stack([self.mask(i, size) for i in items]).to(self.device)

    def mask(self, item: Item, size: int) -> Tensor:
        """The mask of an image, (1, size, size)."""
        if (item.mask, size) not in self.masks:
            self.masks[item.mask, size] = load_mask(item.mask, size)
        return self.masks[item.mask, size]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, S, S) of one step, and their masks (B, 1, S, S) or class numbers (B,)."""
        rng, data = self.draw(step), self.recipe.data
        items = [self.pick(rng) for _ in range(data.batch)]
        images = self.place([self.scans(i.image) for i in items])
        truth = self.truth(items, data.crop)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        if self.classes:
            return augment(images, images[:, :1], generator, data.augment)[0], truth
        return augment(images, truth, generator, data.augment)

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        images, truth = self.batch(step)
        logits = self.method.segment(images)
        return task_loss(logits, truth), {self.measure: round(float(task_score(logits.detach(), truth).mean()), 4)}

    def validate(self) -> Figures:
        scores = []
        for item in (i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            scores.append(task_score(self.method.segment(image), self.truth([item], self.recipe.data.size)))
        score = float(torch.cat(scores).mean())
        return {self.measure: score, "score": score}


class Covert(Bare, CoverTask):
    """Train an analyzer behind a hider: L_mia on the decoded output, L_percept on the response (HideMIA, Eq. 8)."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.hider = registry.create("hider", recipe.hider, weights=recipe.hider_weights).to(self.device)
        self.hider.requires_grad_(recipe.joint)
        self._models = nn.ModuleDict({"analyzer": self.method, **({"hider": self.hider} if recipe.joint else {})})
        self.generator = torch.Generator(self.device)

    @property
    def models(self) -> nn.Module:
        return self._models

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        images, truth = self.batch(step)
        weight, how = self.recipe.loss, {"clamp": False, "check_values": False}
        cover = self.draw_covers(len(images), images.shape[-1], np.random.default_rng([self.recipe.seed, step, 1]))
        with torch.set_grad_enabled(self.recipe.joint):
            hidden = self.hider.hide(images, cover, generator=self.generator.manual_seed(step), **how)
        stego = quantise(hidden) if weight.rounding else hidden
        response = self.method.analyze(stego, generator=self.generator.manual_seed(step), **how)
        sent = quantise(response) if weight.rounding else response
        recovered = self.hider.recover(sent, generator=self.generator.manual_seed(step), **how)
        logits = self.method.decode(recovered, logits=True, check_values=False)
        percept = F.mse_loss(response, cover)
        loss = weight.task * task_loss(logits, truth) + weight.response * percept
        if self.recipe.joint:  # nothing in the printed objective keeps the stego near the cover
            loss = loss + weight.stego * F.mse_loss(hidden, cover)
        score = float(task_score(logits.detach(), truth).mean())
        return loss, {self.measure: round(score, 4), "response": logged(percept)}

    def validate(self) -> Figures:
        scores, looks, walk = [], [], Pipeline.covert(self.hider, self.method)
        for n, item in enumerate(i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            truth = self.truth([item], self.recipe.data.size)
            for k in range(2):
                cover = self.held_cover(2 * n + k)
                run = walk(image, cover)
                scores.append(task_score(run.prediction if self.classes else run.prediction - 0.5, truth))
                looks.append(likeness(run.response, cover))
        score, look = float(torch.cat(scores).mean()), float(torch.cat(looks).mean())
        return {self.measure: score, "response_db": look, "score": score + 0.02 * min(look - 36.5, 0)}
