"""TAP: targeted adversarial poison, noise that looks like another class to a model trained on clean data.

L. Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021. As UMed adapts it to segmentation, the target is the inverted
mask.

Idea: A surrogate learns the clean data. Then each image gets the noise that makes this surrogate see the wrong answer. A model trained on
such images learns to read the noise, since it agrees with no true feature, and misreads clean ones.

Formula:
    delta = argmin over |delta| <= epsilon of  L(f(x + delta), 1 - y)     f: a surrogate of clean images

Weak at: adversarial training, blur and JPEG; models unlike the surrogate. Its default networks are small and its fit short beside the
paper's.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from privmed import Protector, hookimpl
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.settings import at_least, positive, setting, side
from privmed.training.surrogate import Surrogate, signed_descent, task_loss
from privmed_protectors.targets import check_classes, train_clean, wrong_target


@frozen(kw_only=True)
class TAPConfig(Protector.LearningConfig):
    """Settings of :class:`TAP`; epochs and steps are those of the authors' code."""

    classes: int = setting(0, "number of classes; 0 for segmentation", at_least(0))
    width: int = setting(8, "channels of the surrogate's first level; the papers' U-Net has 64", at_least(1))
    size: int = setting(224, "side of the images the surrogate is trained on", side())
    epochs: int = setting(40, "epochs of the surrogate, on clean images", at_least(1))
    batch: int = setting(8, "images in a batch", at_least(1))
    learning_rate: float = setting(1e-3, "learning rate of the surrogate (Adam)", positive(), formerly="rate")
    steps: int = setting(250, "steps of the noise", at_least(1))
    step: float = setting(0.05, "length of such a step, in epsilon", positive())
    restarts: int = setting(1, "starting points; the one of lowest loss is kept (the authors use 8)", at_least(1))


class TAP(Protector):
    """Noise that makes a clean model see the inverted mask, or the next class."""

    name = "tap"
    Config = TAPConfig
    check_settings = {"width": 1, "size": 32, "batch": 2, "epochs": 2, "steps": 2}  # noqa: RUF012
    learns = True
    multiple = 16

    def __init__(self, config: TAPConfig | None = None) -> None:
        super().__init__(config)
        self.surrogate = Surrogate(self.config.classes, self.config.width)

    @property
    def classes(self) -> int:
        return self.config.classes

    def _fit(self, pairs: TrainingPairs, fitting: Fitting) -> None:
        check_classes(self.name, self.config.classes, pairs)
        train_clean(self, self.surrogate, pairs, fitting)

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        target = wrong_target(mask, self.config.classes, shift=1)
        self.surrogate.eval()

        def loss(changed: Tensor) -> Tensor:
            with self.subnets():
                return task_loss(self.surrogate(changed), target)

        best, lowest = image, torch.full((len(image),), torch.inf, device=image.device)
        for _ in range(self.config.restarts):
            found = image + self._attack(loss, image, generators)
            value = loss(found)
            best = torch.where((value < lowest).view(-1, 1, 1, 1), found, best)
            lowest = torch.minimum(value, lowest)
        return best

    def _attack(self, loss, image: Tensor, generators: list[torch.Generator]) -> Tensor:
        c = self.config
        draws = [torch.randn(x.shape, generator=g, device=x.device) for x, g in zip(image, generators)]
        start = (torch.stack(draws) * c.epsilon).clamp(-c.epsilon, c.epsilon)
        return signed_descent(loss, image, start, epsilon=c.epsilon, step=c.step * c.epsilon, steps=c.steps)


@hookimpl
def privmed_register(register):
    register(TAP)
