"""EM: error-minimising noise, so that a model believes there is nothing left to learn.

H. Huang et al., "Unlearnable Examples: Making Personal Data Unexploitable", ICLR 2021. Two players minimise the same loss in turn: a
surrogate over its weights for a few batches, and the noise of every image over the ball, by signed gradient steps. As UMed adapts it
to segmentation, the loss is Dice plus cross-entropy of a U-Net.

Idea: Noise that lowers the training error makes an image easy: a model that sees it finds little left to learn. So the noise of every image
and a surrogate go down the same loss in turn. A model trained on the result looks good in training and fails on clean images.

Formula:
    min over theta, min over |delta| <= epsilon of  L(f_theta(x + delta), y)
    delta <- clip(delta - step epsilon sign(gradient of L))

Weak at: adversarial training, blur and JPEG; models unlike the surrogate. Its default networks are small and its fit short beside the
paper's.
"""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Protector, hookimpl
from privmed.errors import SettingsError
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.metrics import task_score
from privmed.settings import at_least, between, one_of, positive, setting, side
from privmed.training.fitting import Loop, optimizer_step, reset
from privmed.training.surrogate import Surrogate, signed_descent, task_loss
from privmed_protectors.regions import WHERE, region, tasks_of
from privmed_protectors.targets import check_classes


@frozen(kw_only=True)
class EMConfig(Protector.LearningConfig):
    """Settings of :class:`EM`; steps and batches are those of the authors' code."""

    where: str = setting("image", "region the noise keeps to (UMed, Table 5, cases D and G)", one_of(*WHERE))
    classes: int = setting(0, "number of classes; 0 for segmentation", at_least(0))
    classwise: bool = setting(False, "classification: one noise a class instead of one an image")
    width: int = setting(8, "channels of the surrogate's first level; the papers' U-Net has 64", at_least(1))
    size: int = setting(224, "side of the images the surrogate is trained on", side())
    rounds: int = setting(10, "turns of the two players at most", at_least(1))
    batches: int = setting(10, "batches the surrogate trains on in a turn (M)", at_least(1))
    batch: int = setting(8, "images in a batch", at_least(1))
    learning_rate: float = setting(1e-3, "learning rate of the surrogate (Adam)", positive(), formerly="rate")
    steps: int = setting(20, "steps of the noise in a turn (T)", at_least(1))
    step: float = setting(0.1, "length of such a step, in epsilon", positive())
    enough: float = setting(0.99, "training Dice or accuracy at which the game ends", between(0, 1))


class EM(Protector):
    """Noise that minimises the loss of a surrogate trained on it.

    The noise of an image is found afresh on the last surrogate when it is protected, so that a fitted protector fits into the
    surrogate's weights and also serves images that arrive later.
    """

    name = "em"
    Config = EMConfig
    check_settings = {"width": 1, "size": 32, "batch": 2, "rounds": 2, "batches": 1, "steps": 2}  # noqa: RUF012
    learns = True
    multiple = 16

    def __init__(self, config: EMConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.classwise and not c.classes:
            raise SettingsError("em: classwise needs the number of classes, e.g. classes=3.")
        self.tasks = tasks_of(c.where)
        self.surrogate = Surrogate(c.classes, c.width)
        self.register_buffer("class_noise", torch.zeros(c.classes if c.classwise else 0, 3, c.size, c.size))

    @property
    def classes(self) -> int:
        return self.config.classes

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        if self.config.classwise:
            noise = nn.functional.interpolate(self.class_noise[mask], image.shape[-2:], mode="nearest")
            return image + (noise if image.shape[1] == 3 else noise[:, :1])
        return image + self._improve(image, mask, torch.zeros_like(image))

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        return region(self.config.where, image, mask) > 0

    def _fit(self, pairs: TrainingPairs, fitting: Fitting) -> None:
        check_classes(self.name, self.config.classes, pairs)
        c = self.config
        reset(self, lambda: type(self)(c), c.seed)
        optimizer = torch.optim.Adam(self.surrogate.parameters(), c.learning_rate)
        with NoiseTable(len(pairs), pairs.channels, c.size, c.epsilon) as table:
            loop = Loop(c.rounds, {"model": self, "optimizer": optimizer, "noise": table}, fitting)
            for turn in loop:
                score = self._train(pairs, table, optimizer, turn)
                self._improve_all(pairs, table)
                if score >= c.enough:
                    loop.stop()
                loop.keep()
                loop.report("min-min game", score=score)

    def _train(self, pairs: TrainingPairs, table: NoiseTable, optimizer: torch.optim.Optimizer, turn: int) -> float:
        """The surrogate's turn; returns how well it does on what it trains on."""
        rng, scores = np.random.default_rng([self.config.seed, turn]), []
        self.surrogate.train()
        for _ in range(self.config.batches):
            chosen = rng.choice(len(pairs), min(self.config.batch, len(pairs)), replace=False)
            image, truth = pairs.batch(chosen)
            with self.subnets():
                logits = self.surrogate((image + self._noise(table, chosen, truth, pairs.channels)).to(self.device))
            optimizer_step(task_loss(logits, truth.to(self.device)).mean(), optimizer)
            scores.append(float(task_score(logits.detach().float(), truth.to(self.device)).mean()))
        return sum(scores) / len(scores)

    def _improve_all(self, pairs: TrainingPairs, table: NoiseTable) -> None:
        """The noise's turn, on every image."""
        self.surrogate.eval()
        for start in range(0, len(pairs), self.config.batch):
            chosen = np.arange(start, min(start + self.config.batch, len(pairs)))
            image, truth = (x.to(self.device) for x in pairs.batch(chosen))
            noise = self._improve(image, truth, self._noise(table, chosen, truth, pairs.channels).to(self.device))
            if self.config.classwise:
                self._share(noise, truth)
            else:
                table.write(chosen, noise)

    def _share(self, noise: Tensor, labels: Tensor) -> None:
        """A class gets the mean of what its images of a batch have: after every batch, or signs that differ over a set cancel out."""
        for label in labels.unique():
            self.class_noise[label, : noise.shape[1]] = noise[labels == label].mean(0)

    def _noise(self, table: NoiseTable, chosen: np.ndarray, truth: Tensor, channels: int) -> Tensor:
        if not self.config.classwise:
            return table.read(chosen)
        return self.class_noise[truth.to(self.device)][:, :channels].cpu()

    def _improve(self, image: Tensor, truth: Tensor, noise: Tensor) -> Tensor:
        """Descend from ``noise``, with the surrogate frozen and in evaluation mode."""
        c = self.config

        def loss(changed: Tensor) -> Tensor:
            with self.subnets():
                return task_loss(self.surrogate(changed), truth)

        support = region(c.where, image, truth)
        steps = 1 if c.classwise else c.steps
        return signed_descent(
            loss, image, noise, epsilon=c.epsilon, step=c.step * c.epsilon, steps=steps, support=support
        )


class NoiseTable:
    """The noise of every training image as small integers in a temporary file."""

    def __init__(self, count: int, channels: int, size: int, epsilon: float) -> None:
        self.unit = epsilon / 127
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        self._data = np.memmap(self._file, np.int8, "w+", shape=(count, channels, size, size))

    def __enter__(self) -> NoiseTable:
        return self

    def __exit__(self, *_: object) -> None:
        del self._data
        self._file.close()

    def read(self, chosen: np.ndarray) -> Tensor:
        """Noise of some images, (B, channels, size, size)."""
        return torch.from_numpy(np.ascontiguousarray(self._data[chosen])).float() * self.unit

    def write(self, chosen: np.ndarray, noise: Tensor) -> None:
        """Keep their new noise."""
        self._data[chosen] = (noise / self.unit).round().clamp(-127, 127).to(torch.int8).cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return {"noise": torch.from_numpy(np.array(self._data))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Undo :meth:`state_dict`."""
        self._data[:] = state["noise"].numpy()


@hookimpl
def privmed_register(register):
    register(EM)
