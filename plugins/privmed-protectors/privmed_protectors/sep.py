"""SEP: self-ensemble protection, targeted noise on the checkpoints of one training instead of its end alone.

S. Chen et al., "Self-Ensemble Protection: Training Checkpoints Are Good Data Protectors", ICLR 2023. This is the base method, the one
UMed compares with; as UMed adapts it to segmentation, the target is the inverted mask.

Idea: The checkpoints of one training differ almost as much as separate models, and cost nothing more. Noise that deceives all of them at
once does not hang on the whims of one. It is targeted as in TAP, on the mean loss of the ensemble.

Formula:
    delta = argmin over |delta| <= epsilon of  mean over k of L(f_k(x + delta), 1 - y)     f_k: checkpoints

Weak at: adversarial training, blur and JPEG. Its default networks are small and its fit short beside the paper's.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Protector, hookimpl
from privmed.errors import SettingsError
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.settings import at_least, positive, setting, side
from privmed.training.surrogate import Surrogate, signed_descent, task_loss
from privmed_protectors.targets import check_classes, train_clean, wrong_target


@frozen(kw_only=True)
class SEPConfig(Protector.LearningConfig):
    """Settings of :class:`SEP`."""

    classes: int = setting(0, "number of classes; 0 for segmentation", at_least(0))
    width: int = setting(8, "channels of the surrogate's first level; the papers' U-Net has 64", at_least(1))
    size: int = setting(224, "side of the images the surrogate is trained on", side())
    epochs: int = setting(30, "epochs of the surrogate, on clean images", at_least(1))
    batch: int = setting(8, "images in a batch", at_least(1))
    learning_rate: float = setting(1e-3, "learning rate of the surrogate (Adam)", positive(), formerly="rate")
    checkpoints: int = setting(15, "members of the ensemble, equally spaced over the epochs (n)", at_least(1))
    steps: int = setting(30, "steps of the noise", at_least(1))
    step: float = setting(0.25, "length of such a step, in epsilon", positive())


class SEP(Protector):
    """Noise that makes the whole history of a clean model see the inverted mask, or the opposite class."""

    name = "sep"
    Config = SEPConfig
    check_settings = {"width": 1, "size": 32, "batch": 2, "epochs": 2, "checkpoints": 2, "steps": 2}  # noqa: RUF012
    learns = True
    multiple = 16

    def __init__(self, config: SEPConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.checkpoints > c.epochs:
            raise SettingsError(f"sep: {c.checkpoints} checkpoints cannot be taken from {c.epochs} epochs.")
        self.ensemble = nn.ModuleList(Surrogate(c.classes, c.width) for _ in range(c.checkpoints))

    @property
    def classes(self) -> int:
        return self.config.classes

    def _fit(self, pairs: TrainingPairs, fitting: Fitting) -> None:
        c = self.config
        check_classes(self.name, c.classes, pairs)
        at = [round((i + 1) * c.epochs / c.checkpoints) - 1 for i in range(c.checkpoints)]
        last = self.ensemble[-1]  # in training; the last epoch is the last checkpoint

        def keep(epoch: int) -> None:
            for member, when in zip(self.ensemble[:-1], at):
                if when == epoch:
                    member.load_state_dict(last.state_dict())

        train_clean(self, last, pairs, fitting, keep)

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        c = self.config
        target = wrong_target(mask, c.classes, shift=max(1, c.classes // 2))
        self.ensemble.eval()

        def loss(changed: Tensor) -> Tensor:
            with self.subnets():
                return sum(task_loss(member(changed), target) for member in self.ensemble) / c.checkpoints

        start = torch.zeros_like(image)
        return image + signed_descent(loss, image, start, epsilon=c.epsilon, step=c.step * c.epsilon, steps=c.steps)


@hookimpl
def privmed_register(register):
    register(SEP)
