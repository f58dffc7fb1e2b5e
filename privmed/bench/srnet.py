"""A trained network as a detector: SRNet, by default at a width that a processor can train in minutes.

As in the paper a batch holds covers and their stegos, cut out and turned alike, so that a pair differs in nothing but what was hidden;
Adamax, the last fifth of the steps at a tenth of the rate. The network learns on crops and is asked about whole images; its threshold is
where most of the whole training images are told apart.
"""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import hookimpl
from privmed.bench.contracts import Detector
from privmed.bench.detectors import best_threshold
from privmed.interfaces import Hider
from privmed.nn.srnet import SRNet
from privmed.precision import safe_layout
from privmed.settings import at_least, positive, setting, side
from privmed.training.fitting import optimizer_step

ASKED = 4  # images at a time
END = 0.8  # share of the steps after which the rate falls


@frozen(kw_only=True)
class SRNetConfig:
    """Settings of :class:`SRNetDetector`; rate, decay and the fall of the rate are the paper's, which has a width of 16."""

    width: int = setting(8, "channels of the layers without pooling; 16 in the paper", at_least(2))
    steps: int = setting(600, "steps of the training", at_least(1))
    batch: int = setting(8, "pairs of a cover and its stego in a batch", at_least(1))
    crop: int = setting(64, "side of the squares that it learns from; the whole of smaller images", side())
    learning_rate: float = setting(1e-3, "learning rate (Adamax); a tenth of it in the last fifth", positive())
    decay: float = setting(2e-4, "of the weights (L2)", at_least(0))
    seed: int = setting(0, "of weights and batches", at_least(0))


class SRNetDetector(Detector):
    """A small residual network, trained on pairs."""

    name = "srnet"
    Config = SRNetConfig
    check_settings = {"width": 2, "steps": 8, "crop": 32}  # noqa: RUF012
    stated = ("width", "steps", "crop")

    def fit(self, covers: Tensor, stegos: Tensor, public: Hider | None) -> None:
        config, draw = self.config, torch.Generator().manual_seed(self.config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = SRNet(3, config.width).to(memory_format=safe_layout("cpu")).train()
        optimizer = torch.optim.Adamax(self.network.parameters(), config.learning_rate, weight_decay=config.decay)
        fall = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, round(END * config.steps))])
        for _ in range(config.steps):
            chosen = torch.randint(len(covers), (config.batch,), generator=draw)
            pairs = torch.stack([covers[chosen], stegos[chosen]], 1)
            images = torch.cat([alike(pair, config.crop, draw) for pair in pairs])
            truth = torch.tensor([0, 1]).repeat(config.batch)
            loss = nn.functional.cross_entropy(self._logits(images), truth)
            optimizer_step(loss, optimizer, what="detector srnet", remedy="Lower its learning_rate")
            fall.step()
        self.network.eval()
        self.threshold = 0.0
        self.threshold = float(best_threshold(*(self.score(x, public) for x in (covers, stegos))))

    @torch.no_grad()
    def score(self, images: Tensor, public: Hider | None) -> Tensor:
        logits = torch.cat([self._logits(part) for part in images.split(ASKED)])
        return logits[:, 1] - logits[:, 0] - self.threshold

    def _logits(self, images: Tensor) -> Tensor:
        return self.network(images.float().contiguous(memory_format=safe_layout("cpu")))


def alike(images: Tensor, crop: int, draw: torch.Generator) -> Tensor:
    """One random square of images (B, C, H, W), at the same place of all of them, in one of its eight orientations."""
    height, width = images.shape[-2:]
    crop = min(crop, height, width)
    y, x, turns, flip = (int(torch.randint(n, (), generator=draw)) for n in (height - crop + 1, width - crop + 1, 4, 2))
    cut = images[..., y : y + crop, x : x + crop].rot90(turns, (2, 3))
    return cut.flip(3) if flip else cut


@hookimpl
def privmed_register(register):
    register(SRNetDetector)
