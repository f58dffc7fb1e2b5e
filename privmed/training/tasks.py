"""What can be trained: a hider, a segmenter on bare images, an analyzer behind a hider.

A task owns its data and its model, and draws the batch of a step from (seed, step) alone, so that a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import registry
from privmed.data.augment import augment
from privmed.data.folders import ImageFolder, Item, cut_validation
from privmed.data.pixels import PictureStore, as_batch, load_mask
from privmed.errors import InputError, SettingsError
from privmed.imaging.quantise import quantise
from privmed.training.losses import dice_ce, low_frequency
from privmed.training.recipe import Recipe, data_root

Figures = dict[str, float]
VALIDATION_LIMIT = 24  # images a validation of a hider looks at


def decibels(a: Tensor, b: Tensor) -> Tensor:
    """PSNR per item for images in [0, 1]."""
    return -10 * torch.log10((a - b).square().flatten(1).mean(1).clamp_min(1e-10))


def dice_score(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice coefficient per item of logits thresholded at zero."""
    found, y = (logits > 0).float().flatten(1), masks.flatten(1)
    return (2 * (found * y).sum(1) + 1e-5) / (found.sum(1) + y.sum(1) + 1e-5)


class Task(ABC):
    """A model, its data, its loss and its validation."""

    method: nn.Module  # what is saved

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        root = data_root(recipe)
        self.sources = [ImageFolder(root / s.folder) for s in recipe.data.secrets]
        cuts = [cut_validation(s.items("train"), recipe.data.validation, recipe.seed) for s in self.sources]
        self.training, self.held = [c[0] for c in cuts], [c[1] for c in cuts]
        empty = [s.path for s, t, v in zip(self.sources, self.training, self.held) if not t or not v]
        if empty:
            raise InputError(
                f"data set {empty[0]}: too few images to cut {recipe.data.validation:g} of them off for validation."
            )
        shares = np.array([s.share for s in recipe.data.secrets])
        self.shares = shares / shares.sum()
        kind, _, name = recipe.method.partition(":")
        self.method = registry.create(kind, name, weights=None, **recipe.settings).to(self.device)

    @property
    def models(self) -> nn.Module:
        """Everything that is trained."""
        return self.method

    @abstractmethod
    def loss(self, step: int) -> tuple[Tensor, Figures]:
        """Loss of the batch of one step, and figures worth logging."""

    @abstractmethod
    def validate(self) -> Figures:
        """Figures on the validation part; ``score`` is the one to maximise."""

    def draw(self, step: int) -> np.random.Generator:
        """The random numbers of one step."""
        return np.random.default_rng([self.recipe.seed, step])

    def pick(self, rng: np.random.Generator) -> Item:
        """Draw one training image."""
        items = self.training[rng.choice(len(self.sources), p=self.shares)]
        return items[rng.integers(len(items))]

    def place(self, pictures: list[Tensor]) -> Tensor:
        """Stack 8-bit pictures on the device, channels last."""
        return as_batch(pictures).to(self.device).contiguous(memory_format=torch.channels_last)


class CoverTask(Task):
    """A task that needs photographs."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        folder = ImageFolder(data_root(recipe) / recipe.data.covers)
        self.covers, self.held_covers = cut_validation(folder.items("train"), recipe.data.validation, recipe.seed)
        self.photographs = PictureStore(recipe.data.size)

    def draw_covers(self, n: int, side: int, rng: np.random.Generator) -> Tensor:
        """Random windows of random photographs, (n, 3, side, side)."""
        chosen = [self.covers[rng.integers(len(self.covers))].image for _ in range(n)]
        return self.place([self.photographs.random_crop(path, side, rng) for path in chosen])

    def held_cover(self, i: int) -> Tensor:
        """The i-th validation photograph, (1, 3, size, size)."""
        return self.place([self.photographs.centre(self.held_covers[i % len(self.held_covers)].image)])


class Hiding(CoverTask):
    """Train a hider: the stego like the cover, the recovered like the secret, 8 bits in between (HiNet, Eq. 3 to 6)."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.scans = PictureStore(recipe.data.size)
        self.generator = torch.Generator(self.device)

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        rng, data, weight = self.draw(step), self.recipe.data, self.recipe.loss
        secret = self.place([self.scans.random_crop(self.pick(rng).image, data.crop, rng) for _ in range(data.batch)])
        cover = self.draw_covers(data.batch, data.crop, rng)
        stego = self.method._hide(secret, cover, self.generator.manual_seed(step))
        wire = quantise(stego) if weight.rounding else stego
        recovered = self.method._recover(wire, self.generator.manual_seed(step))
        parts = {"stego": F.mse_loss(stego, cover), "secret": F.mse_loss(recovered, secret)}
        loss = weight.stego * parts["stego"] + weight.secret * parts["secret"]
        if weight.low:
            loss = loss + weight.low * low_frequency(stego, cover)
        return loss, {k: round(-10 * float(v.detach().log10()), 3) for k, v in parts.items()}

    def validate(self) -> Figures:
        items = [i for held in self.held for i in held[: max(1, VALIDATION_LIMIT // len(self.held))]]
        stegos, secrets = [], []
        for n, item in enumerate(items):
            secret, cover = self.place([self.scans.centre(item.image)]), self.held_cover(n)
            stego = quantise(self.method.hide(secret, cover))
            stegos.append(decibels(stego, cover))
            secrets.append(decibels(self.method.recover(stego), secret))
        a, b = float(torch.cat(stegos).mean()), float(torch.cat(secrets).mean())
        return {"stego_db": a, "recovered_db": b, "score": min(a, b - 2) + 0.1 * (a + b)}


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
        if self.recipe.joint:  # nothing in the printed objective keeps the stego near the cover (reference, Sec. 2.6)
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


TASKS: dict[str, type[Task]] = {"hiding": Hiding, "segmentation": Segmentation, "covert": Covert}
NEEDS = {"hiding": "hider", "segmentation": "analyzer", "covert": "analyzer"}


def make_task(recipe: Recipe, device: str) -> Task:
    """Build the task of a recipe.

    Raises:
        SettingsError: when the method is of another kind than the task trains.
    """
    kind = recipe.method.partition(":")[0]
    if kind != NEEDS[recipe.task]:
        raise SettingsError(f"task {recipe.task} trains a method of kind {NEEDS[recipe.task]}, got {recipe.method!r}.")
    return TASKS[recipe.task](recipe, device)
