"""Training hiders directly."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.data.augment import recolour
from privmed.data.pixels import PictureStore
from privmed.data.variety import vary
from privmed.imaging.quantise import quantise
from privmed.pipeline import hide, png, recover
from privmed.shared_key import with_key
from privmed.training.isolation import Isolation
from privmed.training.losses import low_frequency, smoothness
from privmed.training.recipe import LossRecipe, Recipe
from privmed.training.tasks import CoverTask, Figures, likeness, logged

FLOOR = 1e-5  # mean squared error (50 dB) below which the logarithm loses interest
VALIDATION_LIMIT = 48  # images a validation looks at
LEAK = 0.1  # outlines that others read which count as nothing
SECRECY = 100.0  # decibels that a fork may not gain by 1.0 more of it
VALIDATION_DRAWS = 20_261_124  # seed of how validation pairs are varied, the same in every run


def error(found: Tensor, wanted: Tensor, scale: str) -> Tensor:
    """Squared error, averaged over the batch as it is (``"linear"``) or as its logarithm (``"log"``).

    The published figure is a mean of decibels, to which an easy image counts as much as a hard one; to the mean of squared
    errors it hardly counts.
    """
    if scale == "linear":
        return F.mse_loss(found, wanted)
    return (1 + (found - wanted).square().flatten(1).mean(1) / FLOOR).log().mean()


def transmit(stego: Tensor, weight: LossRecipe) -> Tensor:
    """What arrives of a stego: rounded and, where it clips, cut off from the gradient, as the recipe says."""
    sent = stego.clamp(0, 1) if weight.clipping else stego
    return quantise(sent) if weight.rounding else sent


def worst_window(found: Tensor, wanted: Tensor, side: int = 8) -> Tensor:
    """Mean squared error of each image's worst window of ``side`` x ``side`` on a grid, (B,)."""
    error = (found - wanted).square().mean(1, keepdim=True)
    return F.avg_pool2d(error, side).flatten(1).amax(1)


class Hiding(CoverTask):
    """Train a hider: the stego like the cover, the recovered like the secret, 8 bits in between, after HiNet."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        self.scans = PictureStore(recipe.data.size)
        self.isolation = (
            Isolation(self.method.name, recipe.isolate, self.device, recipe.fork) if recipe.isolate else None
        )
        self.meet()

    @property
    def models(self) -> nn.Module:
        if self.adversary is None:
            return self.method
        return nn.ModuleDict({"hider": self.method, "adversary": self.adversary})

    def pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Secrets and covers of one step, windows of (B, 3, crop, crop); the team's part of them."""
        data = self.recipe.data
        secret = self.place([self.scans.random_crop(self.pick(rng).image, data.crop, rng) for _ in range(data.batch)])
        cover = self.draw_covers(data.batch, data.crop, rng)
        secret, cover = (recolour(x, data.recolour, rng) for x in (secret, cover))
        secret, cover = vary(secret, data.variety, rng), vary(cover, data.variety, rng)
        return self.team.part(secret), self.team.part(cover)

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        rng, weight = self.draw(step), self.recipe.loss
        self.settle(step)
        secret, cover = self.pair(rng)
        with_key(self.method, rng)  # another one every step: the weights have to suit them all
        how = {"clamp": False, "check_values": False}
        stego = self.method.hide(secret, cover, generator=self.latent_draw(step), **how)
        sent = transmit(stego, weight)
        recovered = self.method.recover(sent, generator=self.latent_draw(step), **how)
        parts = {"stego": F.mse_loss(stego, cover), "secret": F.mse_loss(recovered, secret)}
        change = stego - cover
        if weight.masking:
            change = change * smoothness(cover, weight.masking).sqrt()
        nothing = torch.zeros_like(change)
        loss = weight.stego * error(change, nothing, weight.scale)
        loss = loss + weight.secret * error(recovered, secret, weight.scale)
        if weight.low:
            loss = loss + weight.low * low_frequency(stego, cover)
        if weight.worst:
            loss = loss + weight.worst * (1 + worst_window(recovered, secret) / FLOOR).log().mean()
        figures = {k: logged(v) for k, v in parts.items()}
        if self.isolation is not None:
            leaks = self.isolation.loss(self.method, sent, secret, cover, rng)
            loss, figures["leak"] = loss + weight.isolation * leaks, round(float(leaks.detach()), 4)
        if self.adversary is not None:
            shown = stego.clamp(0, 1) if weight.clipping else stego
            loss, figures["adversary"] = self.compete(loss, shown, cover)
        return loss, figures

    def settle(self, step: int) -> None:
        """From a step on, train with the statistics of batch normalisation that the hider is used with."""
        after = self.recipe.schedule.statistics
        if after is not None and step >= after:
            for layer in self.method.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()

    def validate(self) -> Figures:
        """Mean decibels over held-out pairs of every set, every second one varied as in training, and the worst of the recovered."""
        share = max(1, VALIDATION_LIMIT // len(self.held))
        items = [i for turn in zip_longest(*(held[:share] for held in self.held)) for i in turn if i]
        stegos, recovered, leaks = [], [], []
        with_key(self.method)
        walk = hide(self.method) | png() | recover(self.method)
        for n, item in enumerate(items):
            secret, cover = self.place([self.scans.centre(item.image)]), self.held_cover(n)
            if n % 2 and self.recipe.data.variety:
                rng = np.random.default_rng([VALIDATION_DRAWS, n])
                secret, cover = vary(secret, 1.0, rng), vary(cover, 1.0, rng)
            run = walk(secret, cover)
            stegos.append(likeness(run.stego, cover))
            recovered.append(likeness(run.recovered.clamp(0, 1), secret))
            if self.isolation is not None:
                leaks.append(self.isolation.measure(self.method, run.stego, secret, cover))
        a, b = float(torch.cat(stegos).mean()), torch.cat(recovered)
        mean, worst = float(b.mean()), float(b.quantile(0.05))
        figures = {"stego_db": a, "recovered_db": mean, "recovered_worst_db": worst}
        score = min(a, mean - 2) + 0.1 * (a + mean)
        if leaks:
            figures |= {f"leak_{k}": float(x) for k, x in zip(("ssim", "db", "outlines"), np.mean(leaks, 0))}
            score -= SECRECY * max(0.0, figures["leak_outlines"] - LEAK)
        return {**figures, "score": score}
