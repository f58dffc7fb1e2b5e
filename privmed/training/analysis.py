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
from privmed.training.losses import dice_ce
from privmed.training.recipe import Recipe
from privmed.training.tasks import CoverTask, Figures, Task, decibels


def dice_score(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice coefficient per item of logits thresholded at zero."""
    found, y = (logits > 0).float().flatten(1), masks.flatten(1)
    return (2 * (found * y).sum(1) + 1e-5) / (found.sum(1) + y.sum(1) + 1e-5)


class Segmentation(Task):
    """Train a segmenter on the bare images: what covert analysis is held against."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        if any(i.mask is None for items in self.training for i in items):
            raise InputError(f"{self.sources[0].path}: has no masks/, so nothing to segment.")
        self.scans = PictureStore(recipe.data.crop, squash=True)
        self.full = PictureStore(recipe.data.size, squash=True)
        self.masks: dict = {}

    def mask(self, item: Item, size: int) -> Tensor:
        """The mask of an image, (1, size, size)."""
        if (item.mask, size) not in self.masks:
            self.masks[item.mask, size] = load_mask(item.mask, size)
        return self.masks[item.mask, size]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, S, S) and masks (B, 1, S, S) of one step."""
        rng, data = self.draw(step), self.recipe.data
        items = [self.pick(rng) for _ in range(data.batch)]
        images = self.place([self.scans(i.image) for i in items])
        masks = torch.stack([self.mask(i, data.crop) for i in items]).to(self.device)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        return augment(images, masks, generator, data.augment)

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        images, masks = self.batch(step)
        logits = self.method.segment(images)
        loss = dice_ce(logits, masks)
        return loss, {"dice": round(float(dice_score(logits.detach(), masks).mean()), 4)}

    def validate(self) -> Figures:
        scores = []
        for item in (i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            mask = self.mask(item, self.recipe.data.size)[None].to(self.device)
            scores.append(dice_score(self.method.segment(image), mask))
        score = float(torch.cat(scores).mean())
        return {"dice": score, "score": score}


class Covert(Segmentation, CoverTask):
    """Train an analyzer behind a hider: L_mia on the decoded answer, L_percept on the response (HideMIA, Eq. 8)."""

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
        images, masks = self.batch(step)
        weight = self.recipe.loss
        cover = self.draw_covers(len(images), images.shape[-1], np.random.default_rng([self.recipe.seed, step, 1]))
        with torch.set_grad_enabled(self.recipe.joint):
            hidden = self.hider._hide(images, cover, self.generator.manual_seed(step))
        stego = quantise(hidden) if weight.rounding else hidden
        response = self.method._analyze(stego, self.generator.manual_seed(step))
        wire = quantise(response) if weight.rounding else response
        logits = self.method._decode(self.hider._recover(wire, self.generator.manual_seed(step)))
        percept = F.mse_loss(response, cover)
        loss = weight.task * dice_ce(logits, masks) + weight.response * percept
        if self.recipe.joint:  # nothing in the printed objective keeps the stego near the cover
            loss = loss + weight.stego * F.mse_loss(hidden, cover)
        dice = float(dice_score(logits.detach(), masks).mean())
        return loss, {"dice": round(dice, 4), "response": round(-10 * float(percept.detach().log10()), 3)}

    def validate(self) -> Figures:
        scores, looks = [], []
        for n, item in enumerate(i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            mask = self.mask(item, self.recipe.data.size)[None].to(self.device)
            for k in range(2):
                cover = self.held_cover(2 * n + k)
                response = quantise(self.method.analyze(quantise(self.hider.hide(image, cover))))
                probability = self.method.decode(self.hider.recover(response, clamp=False))
                scores.append(dice_score(probability - 0.5, mask))
                looks.append(decibels(response, cover))
        dice, look = float(torch.cat(scores).mean()), float(torch.cat(looks).mean())
        return {"dice": dice, "response_db": look, "score": dice + 0.02 * min(look - 36.5, 0)}
