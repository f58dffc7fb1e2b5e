"""What every task shares: its data, cut and drawn, and the model it trains.

A task owns its data and its model, and draws the batch of a step from (seed, step) alone, so that a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn

from privmed import registry
from privmed.data.folders import ImageFolder, Item, cut_validation
from privmed.data.pixels import PictureStore, as_batch
from privmed.errors import InputError
from privmed.metrics import decibels, psnr
from privmed.training.adversary import ADVERSARIES, Adversary
from privmed.training.recipe import Recipe, data_root
from privmed.training.team import Team

Figures = dict[str, float]


CEILING = 100.0  # dB at which images count as equal, so that means stay finite


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """PSNR per item, (B,), finite for equal images."""
    return psnr(a, b).clamp(max=CEILING)


def logged(error: Tensor) -> float:
    """A mean squared error in decibels, as the log holds it."""
    return round(float(decibels(error.detach())), 3)


class Task(ABC):
    """A model, its data, its loss and its validation."""

    method: nn.Module  # what is saved
    team: Team = Team()  # whose part of every batch is computed here

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.latents = torch.Generator(self.device)
        root = data_root(recipe)
        self.sources = [ImageFolder(root / s.folder, masks=s.masks, only=s.only) for s in recipe.data.secrets]
        cuts = [cut_validation(s.items("train"), recipe.data.validation, recipe.data.cut) for s in self.sources]
        self.training, self.held = [c[0] for c in cuts], [c[1] for c in cuts]
        empty = [s.path for s, t, v in zip(self.sources, self.training, self.held) if not t or not v]
        if empty:
            raise InputError(
                f"data set {empty[0]}: validation {recipe.data.validation:g} leaves one side empty. Take a larger "
                "part (data.validation), another cut (data.cut), or more images."
            )
        shares = np.array([s.share for s in recipe.data.secrets])
        self.shares = shares / shares.sum()
        self.method = self.make_method().to(self.device)

    def make_method(self) -> nn.Module:
        """What the recipe trains, with random weights."""
        kind, _, name = self.recipe.method.partition(":")
        return registry.create(kind, name, weights=None, **self.recipe.settings)

    @property
    def models(self) -> nn.Module:
        """Everything that is trained."""
        return self.method

    @property
    def opponents(self) -> list[nn.Parameter]:
        """Those of its parameters that are trained against the rest, at rates of their own."""
        return []

    @abstractmethod
    def loss(self, step: int) -> tuple[Tensor, Figures]:
        """Loss of the batch of one step, and figures worth logging."""

    @abstractmethod
    def validate(self) -> Figures:
        """Figures on the validation part; ``score`` is the one to maximise."""

    def draw(self, step: int) -> np.random.Generator:
        """The random numbers of one step."""
        return np.random.default_rng([self.recipe.seed, step])

    def latent_draw(self, step: int) -> torch.Generator:
        """The random numbers of one step that stand for what hiding loses; others for each part of a batch."""
        return self.latents.manual_seed(step + self.team.rank * (1 << 32))

    def pick(self, rng: np.random.Generator) -> Item:
        """Draw one training image."""
        items = self.training[rng.choice(len(self.sources), p=self.shares)]
        return items[rng.integers(len(items))]

    def place(self, pictures: list[Tensor]) -> Tensor:
        """Stack 8-bit pictures on the device, channels last."""
        return as_batch(pictures).to(self.device).contiguous(memory_format=torch.channels_last)


class CoverTask(Task):
    """A task that needs photographs, and may have an adversary that learns to tell them from what it makes of them."""

    adversary: Adversary | None = None

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        folders = [ImageFolder(data_root(recipe) / s.folder, only=s.only) for s in recipe.data.covers]
        cuts = [cut_validation(f.items("train"), recipe.data.validation, recipe.data.cut) for f in folders]
        for folder, (training, held) in zip(folders, cuts):
            if not training or not held:
                raise InputError(
                    f"data set {folder.path}: validation {recipe.data.validation:g} leaves one side of its covers empty. Take another "
                    "part (data.validation) or another cut (data.cut)."
                )
        self.covers = [training for training, _ in cuts]
        self.held_covers = [cover for turn in zip_longest(*(held for _, held in cuts)) for cover in turn if cover]
        shares = np.array([s.share for s in recipe.data.covers])
        self.cover_shares = shares / shares.sum()
        self.photographs = PictureStore(recipe.data.size)

    def meet(self) -> None:
        """Make the adversary that the recipe asks for."""
        loss = self.recipe.loss
        self.adversary = ADVERSARIES[loss.adversary]().to(self.device) if loss.adversarial else None

    @property
    def opponents(self) -> list[nn.Parameter]:
        return [] if self.adversary is None else list(self.adversary.parameters())

    def compete(self, loss: Tensor, made: Tensor, cover: Tensor) -> tuple[Tensor, float]:
        """Loss with the adversarial term, and the adversary's own.

        The latter is there for its gradient alone, its value taken off again: it would drown what the guard watches.
        """
        assert self.adversary is not None
        with self.method.subnets():
            own, fooled = self.adversary.own_loss(made, cover), self.adversary.hider_loss(made, cover)
        return loss + self.recipe.loss.adversarial * fooled + own - own.detach(), round(float(own.detach()), 4)

    def draw_covers(self, n: int, side: int, rng: np.random.Generator) -> Tensor:
        """Random windows of random photographs, (n, 3, side, side)."""
        sets = rng.choice(len(self.covers), size=n, p=self.cover_shares) if len(self.covers) > 1 else [0] * n
        chosen = [self.covers[i][rng.integers(len(self.covers[i]))].image for i in sets]
        return self.place([self.photographs.random_crop(path, side, rng) for path in chosen])

    def held_cover(self, i: int) -> Tensor:
        """The i-th validation photograph, (1, 3, size, size)."""
        return self.place([self.photographs.centre(self.held_covers[i % len(self.held_covers)].image)])
