"""Training analyzers: on bare images, or behind a hider."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import registry
from privmed.data.augment import augment
from privmed.data.folders import Item
from privmed.data.pixels import PictureStore, load_labels, load_mask
from privmed.errors import InputError, SettingsError
from privmed.imaging.quantise import quantise
from privmed.interfaces import Hider
from privmed.interfaces.analyzer import probabilities
from privmed.metrics import task_score
from privmed.pipeline import Pipeline, analyze, bare, decode, png, recover
from privmed.training.losses import masked_error, task_loss
from privmed.training.recipe import Recipe
from privmed.training.scores import Scores
from privmed.training.tasks import CoverTask, Figures, Task, likeness, logged


class Bare(Task):
    """Train a segmenter or classifier on the bare images: what covert analysis is held against."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.classes = self._classes()
        self.mask_classes = getattr(self.method.config, "mask_classes", 0)
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
            bare = [s.path for s, *parts in zip(self.sources, self.training, self.held) if _unmasked(*parts)]
            if bare:
                raise InputError(
                    f"{bare[0]}: has no masks/, so nothing to segment. If its images have no lesion, say masks: none in the recipe."
                )
            if all(i.empty for i in items):
                raise InputError(f"{self.sources[0].path}: has masks: none, and no other set of the recipe has any.")
            return []
        names = sorted({i.label for i in items if i.label is not None})
        if len(names) != wanted or any(i.label is None for i in items):
            raise InputError(
                f"{self.sources[0].path}: has classes {', '.join(names) or 'none'}, but the method expects {wanted}."
            )
        return names

    def truth(self, items: list[Item], size: int) -> Tensor:
        """Masks (B, 1, size, size) of 0 and 1 or of class numbers, or classes of the images (B,)."""
        if self.classes:
            return torch.tensor([self.classes.index(i.label) for i in items], device=self.device)
        return torch.stack([self.mask(i, size) for i in items]).to(self.device)

    def mask(self, item: Item, size: int) -> Tensor:
        """The mask of an image, (1, size, size)."""
        if item.empty:
            return torch.zeros(1, size, size)
        if (item.mask, size) not in self.masks:
            several = self.mask_classes
            self.masks[item.mask, size] = (
                load_labels(item.mask, size, several) if several else load_mask(item.mask, size)
            )
        return self.masks[item.mask, size]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, S, S) of one step, and their masks (B, 1, S, S) or class numbers (B,); the team's part of them."""
        rng, data = self.draw(step), self.recipe.data
        items = [self.pick(rng) for _ in range(data.batch)]
        images = self.place([self.scans(i.image) for i in items])
        truth = self.truth(items, data.crop)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        if self.classes:
            images, _ = augment(images, images[:, :1], generator, data.augment)
        else:
            images, truth = augment(images, truth, generator, data.augment)
        return self.team.part(images), self.team.part(truth)

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        images, truth = self.batch(step)
        logits = self.method.segment(images)
        return task_loss(logits, truth), {self.measure: round(float(task_score(logits.detach(), truth).mean()), 4)}

    def validate(self) -> Figures:
        scores = Scores()
        for item in (i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            scores.add(probabilities(self.method.segment(image)), self.truth([item], self.recipe.data.size))
        return scores.figures()


class Covert(Bare, CoverTask):
    """Train an analyzer behind a hider: L_mia on the decoded output, L_percept on the response (HideMIA, Eq. 8).

    Ours, and off by default: changes of the photograph that cost more where it is smooth, and a network that learns to tell the responses.
    """

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.hider = self.make_hider()
        self.meet()
        others = {"hider": self.hider if recipe.joint else None, "adversary": self.adversary}
        self._models = nn.ModuleDict({"analyzer": self.method, **{k: v for k, v in others.items() if v is not None}})
        self.tells = bool(getattr(self.method.config, "presence", False))
        self.check_presence()

    def make_hider(self) -> Hider:
        """What the analyzer works behind, frozen unless it is trained too."""
        recipe = self.recipe
        made = registry.create("hider", recipe.hider, weights=recipe.hider_weights).to(self.device)
        return made.requires_grad_(recipe.joint)

    def check_presence(self) -> None:
        """Whether an answer that nothing was hidden can be learned, and is where it has to be.

        Raises:
            SettingsError: when it cannot, or is not.
        """
        nothing = self.recipe.data.nothing
        if self.tells and not nothing:
            raise SettingsError(
                "settings.presence is learned from photographs without a scan: set data.nothing above 0, e.g. to 0.2."
            )
        if nothing and self.classes and not self.tells:
            raise SettingsError(
                "data.nothing: no class says that nothing was hidden. Set settings.presence to true, or data.nothing to 0."
            )

    @property
    def models(self) -> nn.Module:
        return self._models

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        images, truth = self.batch(step)
        weight, how = self.recipe.loss, {"clamp": False, "check_values": False}
        batch = self.recipe.data.batch
        cover = self.draw_covers(batch, images.shape[-1], np.random.default_rng([self.recipe.seed, step, 1]))
        every = self.left_empty(step, batch)
        cover, empty = self.team.part(cover), self.team.part(every)
        share = float((~empty).sum() * self.team.size / (~every).sum().clamp(min=1))
        with torch.set_grad_enabled(self.recipe.joint):
            hidden = self.hider.hide(images, cover, generator=self.latent_draw(step), **how)
        sent = torch.where(empty.view(-1, 1, 1, 1), cover, hidden)
        stego = quantise(sent) if weight.rounding else sent
        response = self.method.analyze(stego, generator=self.latent_draw(step), **how)
        wire = quantise(response) if weight.rounding else response
        recovered = self.hider.recover(wire, generator=self.latent_draw(step), **how)
        logits = self.method.decode(recovered, logits=True, check_values=False)
        percept = F.mse_loss(response, cover)
        near = percept if not weight.masking else masked_error(response, cover, weight.masking)
        loss = weight.task * self.told(logits, recovered, truth, empty, share) + weight.response * near
        if self.recipe.joint:  # nothing in the printed objective keeps the stego near the cover
            loss = loss + weight.stego * F.mse_loss(hidden, cover)
        seen = {"response": logged(percept)}
        if self.adversary is not None:
            loss, seen["adversary"] = self.compete(loss, response, cover)
        if not empty.all():
            seen[self.measure] = round(float(task_score(logits.detach()[~empty], truth[~empty]).mean()), 4)
        return loss, seen

    def left_empty(self, step: int, n: int) -> Tensor:
        """Which photographs of a batch are sent without a scan, (n,) bool."""
        rng = np.random.default_rng([self.recipe.seed, step, 2])
        return torch.from_numpy(rng.random(n) < self.recipe.data.nothing).to(self.device)

    def told(self, logits: Tensor, recovered: Tensor, truth: Tensor, empty: Tensor, share: float = 1.0) -> Tensor:
        """The loss of what the client reads: where nothing was hidden an empty mask, no class, and that it was not, if it is told.

        Classes are a mean over scans, of which a part of a batch may have more or fewer than others: ``share`` of the team's mean.
        """
        if self.classes:
            loss = share * task_loss(logits[~empty], truth[~empty]) if not empty.all() else 0 * logits.sum()
        else:
            loss = task_loss(logits, torch.where(empty.view(-1, 1, 1, 1), torch.zeros_like(truth), truth))
        if self.tells:
            presence = self.method.presence(recovered, logits=True, check_values=False)
            loss = loss + F.binary_cross_entropy_with_logits(presence, (~empty).float())
        return loss

    def validate(self) -> Figures:
        scores, looks, walk = Scores(), [], Pipeline.covert(self.hider, self.method)
        unhidden = bare() | png() | analyze(self.method) | png() | recover(self.hider) | decode(self.method)
        for n, item in enumerate(i for held in self.held for i in held):
            image = self.place([self.full(item.image)])
            truth = self.truth([item], self.recipe.data.size)
            for k in range(2):
                cover = self.held_cover(2 * n + k)
                run = walk(image, cover)
                scores.add(run.prediction, truth)
                looks.append(likeness(run.response, cover))
                if self.recipe.data.nothing:
                    scores.add_nothing(run, unhidden(image, cover))
        figures, look = scores.figures(), float(torch.cat(looks).mean())
        return {**figures, "response_db": look, "score": figures["score"] + 0.02 * min(look - 36.5, 0)}


def _unmasked(*parts: list[Item]) -> bool:
    """Whether an image has neither a mask nor is said to need none."""
    return any(i.mask is None and not i.empty for part in parts for i in part)
