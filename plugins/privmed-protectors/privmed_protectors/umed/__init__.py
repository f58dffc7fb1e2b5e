"""UMed: noise on the contour and in the texture of a lesion, made by two generators.

X. Lin et al., IJCAI 2024 (arXiv 2403.14250). Names follow the paper:
``y_c`` is the contour map, ``x_t`` the texture map, ``F_c`` and ``F_t`` the generators, ``F_s`` the surrogate.

Where the paper is silent: the contour is a morphological gradient of 3 x 3; the texture map is a local binary pattern that is 0 where the
image is flat; the clip of Eq. 4 and 5 is a tanh scaled to the same bound, because a clip far below the size of what it clips has no
gradient; rounding to 8 bits is in the loop.

What differs from the paper: there the generators please a surrogate that has learnt one epoch in five and does not know the shortcut yet,
and settle on a faint tint of the outline. So here they start from a carrier, something that no scan contains, and the surrogate learns
on images perturbed by them before they move. Where the carrier is a tint, it is not bounded by texture, which hides grain and no tint, but
keeps to two of three channels, which costs less and is learnt by more networks. ``carrier="none", warm_up=0`` is the
paper's structure; its fit has 100 cycles, both rates 1e-4 and batches of 16.
"""

from __future__ import annotations

import copy
import itertools

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import Protector, hookimpl
from privmed.errors import SettingsError
from privmed.imaging.contour import contour
from privmed.imaging.quantise import quantise
from privmed.interfaces.fitting import Fitting, TrainingPairs
from privmed.nn.unet import UNet, convolution
from privmed.settings import at_least, one_of, positive, setting, side
from privmed.training.surrogate import Surrogate, agreement, descend, supervised
from privmed_protectors.regions import PATTERNS, TINTS, pattern
from privmed_protectors.transformations import random_transformation
from privmed_protectors.umed.cdc import CentralDifference
from privmed_protectors.umed.texture import texture_map

CARRIER = 2.5  # tanh(2.5) = 0.99: generators that wander by 1 still leave it more than 0.9
FAINT = 0.01  # an image whose channels differ by less, on average, is a grey one published in colour
SMOOTH, RAISED = 7, 1.4  # side of the average of a smooth texture map, and what it is raised by: PSNR stays above 50 dB
GENERATOR_EPOCHS = 4  # of every five; the fifth is the surrogate's


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
        "auto",
        "bound in the interior: a texture map x_t (count does not depend on the orientation, code does), the first of them averaged and "
        "raised (smooth), the whole epsilon (full), or none; auto is full where the carrier is a tint, else count, or smooth if robust",
        one_of("auto", "code", "count", "transitions", "smooth", "full", "none"),
    )
    robust: bool = setting(
        False,
        "beyond the paper: train through random JPEG, blur, flips and brightness (expectation over transformations), in a bound that "
        "they leave more of",
    )
    width: int = setting(8, "channels of the first level of all three networks; the paper's have 64", at_least(1))
    size: int = setting(224, "side of the images they are trained on", side())
    cycles: int = setting(
        5,
        "cycles of four epochs of the generators and one of the surrogate F_s; the paper's 100 at its rate; with none, and no warm-up, the "
        "carrier is published in its bound, without a fit",
        at_least(0),
    )
    carrier: str = setting(
        "auto",
        "beyond the paper, what the generators start from, in the channels that they may change: a tint, a checkerboard, or nothing and "
        "all channels, as in the paper; auto is blue for grey images published in colour, blue-checkerboard for coloured ones, and "
        "checkerboard for a single channel",
        one_of("auto", *PATTERNS, "none"),
    )
    warm_up: int = setting(
        20,
        "epochs of the surrogate before, on images perturbed by the fresh generators; the paper has none",
        at_least(0),
    )
    batch: int = setting(8, "images in a batch; the paper's 16", at_least(1))
    rate: float = setting(1e-3, "learning rate of the surrogate (Adam); the paper's 1e-4", positive())
    generator_rate: float = setting(1e-4, "learning rate of the generators (Adam), as in the paper", positive())


class UMed(Protector):
    """Contour- and texture-aware error-minimising perturbations from two generators."""

    name = "umed"
    Config = UMedConfig
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
        silent = c.carrier != "none"  # start from the carrier as it is; without one, silence would round to nothing
        if c.contour != "none":
            self.generators["contour"] = UNet(
                3, 3, c.width, CentralDifference if c.contour == "cdc" else convolution, silent=silent
            )
        if c.texture != "none":
            self.generators["texture"] = UNet(3, 3, c.width, silent=silent)

    def bounds(self, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Bound of each generator, (B, 1, H, W) in [0, epsilon]; their supports are disjoint (Eq. 4 and 5)."""
        c = self.config
        y_c = contour(mask, c.contour_kernel)
        out = {}
        if c.contour != "none":
            out["contour"] = c.epsilon * y_c
        if c.texture != "none":
            out["texture"] = c.epsilon * self._texture(image) * (1 - y_c) * mask
        return out

    def _texture(self, image: Tensor) -> Tensor:
        """x_t, (B, 1, H, W) in [0, 1]."""
        kind = self.config.texture
        if kind != "auto":
            return self._texture_map(image, kind)
        grain = self._texture_map(image, "smooth" if self.config.robust else "count")
        carrier = self.config.carrier
        tinted = colourless(image) if carrier == "auto" else torch.tensor(carrier in TINTS and image.shape[1] == 3)
        return torch.where(tinted.to(image.device), torch.ones_like(grain), grain)

    def _texture_map(self, image: Tensor, kind: str) -> Tensor:
        if kind == "full":
            return torch.ones_like(image[:, :1])
        if kind != "smooth":
            return texture_map(image, kind)
        # From pixel to pixel x_t jumps, and so would what it bounds: just what JPEG and blur take first.
        around = F.pad(texture_map(image, "count"), (SMOOTH // 2,) * 4, mode="reflect")
        return (RAISED * F.avg_pool2d(around, SMOOTH, 1)).clamp(max=1)

    def perturb(self, image: Tensor, mask: Tensor) -> Tensor:
        """x_p, differentiable in the generators (Eq. 6)."""
        seen = image.expand(-1, 3, -1, -1)
        perturbation = torch.zeros_like(image)
        carrier = carrier_of(self.config.carrier, image)
        for name, bound in self.bounds(image, mask).items():
            with self.subnets():
                answer = self.generators[name](seen)
            answer = (answer.float()[:, : image.shape[1]] + CARRIER * carrier).tanh() * bound
            perturbation = perturbation + (answer * (carrier != 0) if self.config.carrier != "none" else answer)
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
        torch.manual_seed(c.seed)
        self.load_state_dict(type(self)(c).state_dict())
        players = {"generators": self.generators, "surrogate": self.surrogate}
        # A surrogate that knows the shortcut leaves gradients near zero, which Adam at a large rate turns into a random walk.
        rates = {"generators": c.generator_rate, "surrogate": c.rate}
        optimizers = {name: torch.optim.Adam(player.parameters(), rates[name]) for name, player in players.items()}
        done = 0
        if (state := fitting.restore()) is not None:
            done = state["epoch"]
            self.load_state_dict(state["model"])
            for name, optimizer in optimizers.items():
                optimizer.load_state_dict(state[name])
        total = c.warm_up + c.cycles * (GENERATOR_EPOCHS + 1)
        for epoch in range(done, total):
            turn = epoch - c.warm_up
            who = "surrogate" if turn < 0 or turn % (GENERATOR_EPOCHS + 1) == GENERATOR_EPOCHS else "generators"
            score = self._epoch(pairs, epoch, who, optimizers[who])
            if who == "surrogate" or epoch + 1 == total:
                states = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
                fitting.keep({"epoch": epoch + 1, "model": copy.deepcopy(self.state_dict()), **states})
            fitting.tell(who, epoch + 1, total, score=score)

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
            descend(supervised(logits, truth).mean(), optimizer)
            scores.append(float(agreement(logits, truth).mean().detach()))
        return sum(scores) / len(scores)


def carrier_of(kind: str, image: Tensor) -> Tensor:
    """What is added to the answers of the generators before tanh, in units of ``CARRIER``; broadcasts to (B, C, H, W)."""
    if kind == "none":
        return image.new_zeros(1)
    if kind != "auto":
        return pattern(kind, image)
    if image.shape[1] == 1:
        return pattern("checkerboard", image)
    return torch.where(colourless(image), pattern("blue", image), pattern("blue-checkerboard", image))


def colourless(image: Tensor) -> Tensor:
    """Which images of a batch are grey but published in colour, (B, 1, 1, 1) bool."""
    colour = (image.amax(1, keepdim=True) - image.amin(1, keepdim=True)).mean((1, 2, 3), keepdim=True)
    return (colour < FAINT) & (image.shape[1] == 3)


@hookimpl
def privmed_register(register):
    register(UMed)
