"""What an eavesdropper reads who has no weights of any hider, but came by some pairs of a stego and the scan in it.

He trains a network of his own, a U-Net from a stego to what the scan differs by from the mean of those he has. That mean is what he would
say without any method, whatever the stego: a figure that does not beat it says that he reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from privmed.bench.data import Sample, centre, picture
from privmed.errors import SettingsError
from privmed.nn.unet import UNet
from privmed.pipeline import Stage
from privmed.precision import safe_layout
from privmed.settings import at_least, positive, setting
from privmed.training.fitting import optimizer_step

SALT = 7_654_321  # what his draws have beside the seed of the run


@frozen(kw_only=True)
class EavesdropperConfig:
    """How an eavesdropper trains his network."""

    width: int = setting(8, "channels of the first level of his U-Net", at_least(2))
    steps: int = setting(400, "steps (Adam)", at_least(1))
    batch: int = setting(8, "pairs in a batch", at_least(1))
    learning_rate: float = setting(1e-3, "learning rate", positive())


class Settings(Protocol):
    """What a suite says about those who listen."""

    size: int
    leaked: list[int]
    eavesdropper: EavesdropperConfig


def counts(_: object, attribute: attrs.Attribute, value: list[int]) -> None:
    """Accept lists of different numbers of pairs, each at least 1."""
    if wrong := [n for n in value if n < 1]:
        raise ValueError(f"{attribute.name} must be numbers of pairs of at least 1, got {wrong[0]!r}")
    if len(set(value)) < len(value):
        raise ValueError(f"{attribute.name} must not name a number of pairs twice, got {value!r}")


counts.says = "at least 1 each"  # type: ignore[attr-defined]


class Eavesdropper:
    """Somebody who learns from pairs; deterministic by the seed.

    Args:
        stegos: (N, 3, S, S) uint8 as the wire delivered them, S a multiple of 16.
        secrets: (N, 3, S, S) uint8, what was hidden in each.
        config: how he trains.
        seed: of weights and batches.
        progress: told steps done and steps in all.

    Raises:
        TrainingError: when the training diverges.
    """

    def __init__(
        self,
        stegos: Tensor,
        secrets: Tensor,
        config: EavesdropperConfig,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self.mean = secrets.double().div(255).mean(0, keepdim=True).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SALT + seed)
            self.network = UNet(3, 3, config.width).to(memory_format=safe_layout("cpu")).train()
        rng = np.random.default_rng([SALT, seed])
        optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        for step in range(config.steps):
            chosen = torch.from_numpy(rng.choice(len(stegos), min(config.batch, len(stegos)), replace=False))
            loss = nn.functional.mse_loss(self._guess(as_floats(stegos[chosen])), as_floats(secrets[chosen]))
            optimizer_step(loss, optimizer, what="the eavesdropper", remedy="Lower eavesdropper.learning_rate")
            progress(step + 1, config.steps)
        self.network.eval()

    @torch.no_grad()
    def read(self, stegos: Tensor) -> Tensor:
        """What he takes for the secrets of stegos, both (B, 3, S, S) in [0, 1]."""
        return self._guess(stegos).clamp(0, 1)

    def _guess(self, stegos: Tensor) -> Tensor:
        return self.mean + self.network(stegos.contiguous(memory_format=safe_layout("cpu")))


def as_floats(images: Tensor) -> Tensor:
    """uint8 as [0, 1]."""
    return images.float() / 255


def as_bytes(images: Tensor) -> Tensor:
    """[0, 1], as a file of eight bits holds it, as uint8."""
    return (images * 255).round().byte()


def drawn(scans: int, photographs: int, count: int, seed: int) -> list[tuple[int, int]]:
    """So many different pairs of a scan and a photograph, all scans equally often; fewer pairs are the first of more.

    Raises:
        SettingsError: when there are not as many.
    """
    if count > scans * photographs:
        raise SettingsError(
            f"leaked: {count} pairs cannot be had of {scans} scans and {photographs} photographs for training."
            f" Ask for at most {scans * photographs}."
        )
    rng = np.random.default_rng([SALT, seed])
    first = rng.permuted(np.resize(np.arange(photographs), scans))
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        done = len(pairs) // scans
        pairs += [(int(n), int(first[n] + done) % photographs) for n in rng.permutation(scans)]
    return pairs[:count]


def listening(
    sent: Stage,
    sets: Sequence[Sequence[Sample]],
    settings: Settings,
    seed: int,
    progress: Callable[[int, int, str], None],
) -> dict[int, Eavesdropper]:
    """Eavesdroppers who learnt from more and more pairs, by how many.

    Args:
        sent: what becomes of a scan and a photograph until the stego arrives.
        sets: scans and photographs that leaked pairs are made of.
        settings: side of the images, numbers of pairs, and how he learns.
        seed: of all draws.
        progress: told how far it is, and with what.
    """
    chosen = drawn(len(sets[0]), len(sets[1]), max(settings.leaked), seed)
    made: list[tuple[Tensor, Tensor]] = []
    for a, b in chosen:
        secret, cover = (
            x[None].float() / 255 for x in (picture(sets[0][a], settings.size), centre(sets[1][b], settings.size))
        )
        made.append((as_bytes(sent(secret, cover).stego), as_bytes(secret)))
        progress(len(made), len(chosen), "leaked pairs")
    stegos, secrets = (torch.cat(x) for x in zip(*made))
    found = {}
    for n in settings.leaked:
        report = lambda done, total, n=n: progress(done, total, f"learning from {n} leaked pairs")  # noqa: E731
        found[n] = Eavesdropper(stegos[:n], secrets[:n], settings.eavesdropper, seed, report)
    return found
