"""UMed: noise on the contour and in the texture of a lesion, made by two generators.

X. Lin et al., IJCAI 2024 (arXiv 2403.14250). Names follow the paper:
``y_c`` is the contour map, ``x_t`` the texture map, ``F_c`` and ``F_t`` the generators, ``F_s`` the surrogate.

Defaults are the paper's: 100 cycles of four epochs of the generators and one of the surrogate, all down the same loss (cross-entropy and
Dice), Adam at 1e-4 for both, batches of 16, epsilon 4/255, as many channels of noise as the image has. On a processor that takes
too long for most sets; ``quick=true`` shortens it and says so.

Where the paper is silent: the contour is a morphological gradient of 3 x 3; the texture map is the code of a local binary pattern over
255, 0 where the image is flat; networks are as wide as the usual U-Net (64) and read grey images as three equal channels; the clip of
Eq. 4 and 5 is a tanh scaled to the same bound, because a clip far below the size of what it clips has no gradient; rounding to 8 bits is
in the loop; gradients are clipped to a norm of 5. ``robust``, and ``texture`` of ``smooth``, are ours, and off.

Idea: A segmenter learns a lesion by its outline and its texture, so noise there is what it learns instead. One generator draws on the
contour, with convolutions of differences; another inside, bounded by how much texture hides at each pixel. Both go down the loss of a
surrogate segmenter that is trained in turn, so that the noise becomes the easiest thing to learn. Outside the lesion nothing changes.

Formula:
    delta_c = epsilon y_c tanh(F_c(x))           on the contour
    delta_t = epsilon x_t (1 - y_c) y tanh(F_t(x))     inside it
    x_p = x + delta_c + delta_t,  F_c, F_t and F_s all go down L(F_s(x_p), y)

Weak at: adversarial training, which undoes most of what noise of this size can do; in grey, blur, JPEG or shrinking. With a short fit it
protects less than random noise of the same support, and no more than random noise of the same bound: see its figures. It gives away where
the lesion is.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from attrs import Factory, frozen
from torch import Tensor, nn

from privmed import Protector, hookimpl
from privmed.errors import SettingsError
from privmed.imaging.contour import contour
from privmed.imaging.quantise import quantise
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.metrics import task_score
from privmed.nn.unet import UNet, convolution
from privmed.settings import Check, at_least, one_of, positive, setting
from privmed.training.fitting import Loop, optimizer_step, reset
from privmed.training.surrogate import Surrogate, task_loss
from privmed_protectors.texture import KINDS, texture_map
from privmed_protectors.transformations import random_transformation
from privmed_protectors.umed.cdc import CentralDifference

GENERATOR_EPOCHS = 4  # of every five; the fifth is the surrogate's
PAPER = {"width": 64, "cycles": 100, "batch": 16, "learning_rate": 1e-4, "generator_learning_rate": 1e-4}
QUICK = {"width": 8, "cycles": 10, "batch": 8, "learning_rate": 1e-3, "generator_learning_rate": 1e-3}
SIZE = 224  # of the images that it learns on
REMEDY = "Lower its learning rate with --set learning_rate=... or --set generator_learning_rate=..."


def of_fit(name: str, doc: str, check: Check, formerly: str = "") -> Any:
    """A setting of the fit, whose default is the paper's, or that of ``quick``."""
    default = Factory(lambda config: (QUICK if config.quick else PAPER)[name], takes_self=True)
    return setting(default, f"{doc}; {QUICK[name]:g} if quick", check, formerly=formerly)


@frozen(kw_only=True)
class UMedConfig(Protector.LearningConfig):
    """Settings of :class:`UMed`."""

    contour: str = setting(
        "cdc", "encoder of the contour generator F_c; none leaves the contour alone", one_of("cdc", "vanilla", "none")
    )
    contour_kernel: int = setting(
        3, "side of the box whose dilation less erosion is the contour y_c", one_of(3, 5, 7, 9)
    )
    texture: str = setting(
        "code",
        "texture map x_t that bounds the interior: the code of a local binary pattern, the count of its bits or of its transitions, which "
        "do not depend on the orientation, the count averaged and raised (smooth; beyond the paper), the whole epsilon (full), or none",
        one_of(*KINDS, "none"),
    )
    robust: bool = setting(
        False,
        "beyond the paper: train through random JPEG, blur, flips and brightness (expectation over transformations)",
    )
    quick: bool = setting(False, "shorten the fit: other defaults of the five settings below, and a note that says so")
    width: int = of_fit("width", "channels of the first level of all three networks", at_least(1))
    cycles: int = of_fit("cycles", "cycles of four epochs of the generators and one of the surrogate F_s", at_least(1))
    batch: int = of_fit("batch", "images in a batch", at_least(1))
    learning_rate: float = of_fit("learning_rate", "learning rate of the surrogate (Adam)", positive(), "rate")
    generator_learning_rate: float = of_fit(
        "generator_learning_rate", "learning rate of the generators (Adam)", positive(), "generator_rate"
    )

    removed: ClassVar[dict[str, str]] = {
        "carrier": "a fixed pattern is the protector tint, whose setting pattern chooses it, and umed starts from nothing, as in the paper",
        "warm_up": "the surrogate learns in its own epochs alone, as in the paper",
    }


class UMed(Protector):
    """Contour- and texture-aware error-minimising perturbations from two generators."""

    name = "umed"
    Config = UMedConfig
    check_settings = {"quick": True, "width": 1, "size": 32, "batch": 2, "cycles": 2}  # noqa: RUF012
    learns = True
    tasks = ("segmentation",)
    multiple = 16

    def __init__(self, config: UMedConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.contour == c.texture == "none":
            raise SettingsError("umed: contour and texture are both none, so there is nothing to perturb.")
        self.surrogate = Surrogate(0, c.width)
        self.generators = nn.ModuleDict()
        if c.contour != "none":
            encoder = CentralDifference if c.contour == "cdc" else convolution
            self.generators["contour"] = UNet(3, 3, c.width, encoder, silent=False)
        if c.texture != "none":
            self.generators["texture"] = UNet(3, 3, c.width, silent=False)  # silence would round to nothing

    @property
    def note(self) -> str:
        now = {name: getattr(self.config, name) for name in PAPER}
        kind = "shortened" if any(now[name] < PAPER[name] for name in ("width", "cycles")) else "not the paper's"
        said = [f"{name} {now[name]:g} instead of {value:g}" for name, value in PAPER.items() if now[name] != value]
        if self.config.size != SIZE:
            said.append(f"size {self.config.size} instead of {SIZE}")
        if self.config.robust:
            said.append("through random filters (robust), which is beyond it")
        return f"umed: the fit is {kind}: {', '.join(said)}." if said else ""

    def bounds(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Bound of each generator, (B, 1, H, W) in [0, epsilon]; their supports are disjoint (Eq. 4 and 5)."""
        c = self.config
        y_c = contour(mask, c.contour_kernel)
        out = {}
        if c.contour != "none":
            out["contour"] = c.epsilon * y_c
        if c.texture != "none":
            out["texture"] = c.epsilon * texture_map(image, c.texture) * (1 - y_c) * mask
        return out

    def perturb(self, image: Tensor, mask: Tensor) -> Tensor:
        """x_p, differentiable in the generators (Eq. 6)."""
        perturbation = torch.zeros_like(image)
        for name, bound in self.bounds(image, mask).items():
            with self.subnets():
                output = self.generators[name](image.expand(-1, 3, -1, -1))
            perturbation = perturbation + output.float()[:, : image.shape[1]].tanh() * bound
        return image + perturbation

    def _published(self, image: Tensor, mask: Tensor, grey: Tensor) -> Tensor:
        """x_p of a batch of a set in which some images are published in grey and some in colour."""
        if image.shape[1] == 1 or not grey.any():
            return self.perturb(image, mask)
        once = self.perturb(image[:, :1], mask).expand_as(image)
        return once if grey.all() else torch.where(grey.view(-1, 1, 1, 1), once, self.perturb(image, mask))

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        self.generators.eval()  # batch statistics would let the neighbours in a batch in
        return self.perturb(image, mask)

    def _support(self, image: Tensor, mask: Tensor) -> Tensor:
        return sum(self.bounds(image, mask).values()) > 0

    def _fit(self, pairs: TrainingPairs, fitting: Fitting) -> None:
        """Alternate by epoch: four of the generators, one of the surrogate, all down the same loss (Algorithm 1)."""
        c = self.config
        reset(self, lambda: type(self)(c), c.seed)
        optimizers = {
            "generators": torch.optim.Adam(self.generators.parameters(), c.generator_learning_rate),
            "surrogate": torch.optim.Adam(self.surrogate.parameters(), c.learning_rate),
        }
        loop = Loop(c.cycles * (GENERATOR_EPOCHS + 1), {"model": self, **optimizers}, fitting)
        for epoch in loop:
            who = "surrogate" if epoch % (GENERATOR_EPOCHS + 1) == GENERATOR_EPOCHS else "generators"
            score = self._epoch(pairs, epoch, who, optimizers[who])
            if who == "surrogate" or loop.done == loop.total:
                loop.keep()
            loop.report(who, score=score)

    def _epoch(self, pairs: TrainingPairs, epoch: int, who: str, optimizer: torch.optim.Optimizer) -> float:
        """One epoch of one player; the other is frozen and in evaluation mode. Returns the surrogate's training Dice."""
        c, scores = self.config, []
        for name, player in (("generators", self.generators), ("surrogate", self.surrogate)):
            player.train(name == who).requires_grad_(name == who)
        for step, chosen in zip(itertools.count(), pairs.epoch(c.batch, c.seed, epoch)):
            image, truth = (x.to(self.device) for x in pairs.batch(chosen))
            changed = quantise(self._published(image, truth, pairs.grey[torch.from_numpy(chosen)].to(self.device)))
            if c.robust:
                changed, truth = random_transformation(
                    changed, truth, torch.Generator().manual_seed(c.seed * 1_000_003 + epoch * 10_007 + step)
                )
            with self.subnets():
                logits = self.surrogate(changed)
            optimizer_step(task_loss(logits, truth).mean(), optimizer, remedy=REMEDY)
            scores.append(float(task_score(logits, truth).mean().detach()))
        return sum(scores) / len(scores)


@hookimpl
def privmed_register(register):
    register(UMed)
