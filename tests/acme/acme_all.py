"""Everything that a distribution can bring to a comparison, in one file, and a command."""

import numpy as np
import torch
from attrs import frozen

from privmed import Protector, hookimpl
from privmed.bench.contracts import Defence, Exploiter, Metric, Reader
from privmed.bench.data import Dataset, Sample
from privmed.errors import InputError
from privmed.settings import setting


@frozen(kw_only=True)
class Config(Protector.Config):
    epsilon: float = setting(8 / 255, "largest change")


class Brighten(Protector):
    name = "brighten"
    Config = Config

    def _protect(self, image, mask, generators):
        return image + self.config.epsilon


class Linear(Exploiter):
    """A network of one layer."""

    name = "linear"

    def network(self, width):
        return torch.nn.Conv2d(3, 1, 3, padding=1)


class Darken(Defence):
    """Takes a little light away."""

    name = "darken"

    def prepare(self, images):
        return images - images.clamp(max=8)


class Area(Metric):
    """Share of the image that was found."""

    name, title, measures = "area", "found area", "masks"

    def __call__(self, found, truth):
        return (found > 0.5).float().flatten(1).mean(1)


class Stack(Reader):
    """Images and masks in one numpy file."""

    name = "stack"

    @classmethod
    def recognises(cls, path):
        return path.suffix == ".npy"

    def read(self, path):
        if not path.is_file():
            raise InputError(f"data set {path}: no such file.")
        planes = torch.from_numpy(np.load(path))

        def sample(n):
            return Sample(name=str(n), image=lambda: planes[n, :1][None], mask=lambda: planes[n, 1:][None])

        return Dataset(path.stem, [sample(n) for n in range(len(planes))])


def shout(word: str):
    """Say a word loudly."""
    print(word.upper())


@hookimpl
def privmed_register(register):
    for cls in (Brighten, Linear, Darken, Area, Stack):
        register(cls)
    register.command("shout", shout)
