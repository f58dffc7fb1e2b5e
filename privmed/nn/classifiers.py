"""Diagnostic classifiers, with everything that has to happen to an image before they see it.

Preprocessing is part of the model: size, grey to colour, mean and deviation lie in its settings and so in its model card. What goes in is
an image in [0, 1] of any size; what comes out are probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed.errors import MissingDependencyError, SettingsError, did_you_mean
from privmed.interfaces import validation
from privmed.interfaces.base import Method
from privmed.settings import at_least, setting


def _monai() -> Any:
    try:
        from monai.networks import nets
    except ImportError as error:
        raise MissingDependencyError("this classifier needs MONAI: pip install 'privmed[monai]'.") from error
    return nets


def _torchvision(name: str, classes: int) -> nn.Module:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError("this classifier needs torchvision: pip install 'privmed[zoo]'.") from error
    extra = {"aux_logits": False, "init_weights": True} if name == "inception_v3" else {}
    return models.get_model(name, weights=None, num_classes=classes, **extra)


def _resnet(depth: int, classes: int) -> nn.Module:
    return getattr(_monai(), f"resnet{depth}")(
        spatial_dims=2, n_input_channels=3, num_classes=classes, conv1_t_stride=2
    )


def _efficientnet(classes: int) -> nn.Module:
    net = _monai().EfficientNetBN("efficientnet-b0", False, spatial_dims=2, num_classes=classes)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = (
                0.1  # MONAI's 0.01 is for long trainings: after a few hundred steps the statistics would lag behind
            )
    return net


def _vit(classes: int, size: int) -> nn.Module:
    net = _monai().ViT(
        3, (size, size), (16, 16), hidden_size=192, mlp_dim=768, num_layers=6, num_heads=3,
        classification=True, num_classes=classes, spatial_dims=2, post_activation="none",
    )  # fmt: skip
    return _First(net)


class _First(nn.Module):
    """A network that answers with a tuple, as one that answers with its first member."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet18": lambda n, size: _resnet(18, n),
    "resnet34": lambda n, size: _resnet(34, n),
    "resnet50": lambda n, size: _resnet(50, n),
    "densenet121": lambda n, size: _monai().DenseNet121(2, 3, n),
    "efficientnet-b0": lambda n, size: _efficientnet(n),
    "senet50": lambda n, size: _monai().SEResNet50(spatial_dims=2, in_channels=3, num_classes=n),
    "vit": _vit,
    **{
        f"torchvision-{name.replace('_', '-')}": lambda n, size, name=name: _torchvision(name, n)
        for name in ("resnet18", "resnet50", "vgg16", "inception_v3", "mobilenet_v3_large", "densenet121", "vit_b_16")
    },
}


@frozen(kw_only=True)
class ClassifierConfig:
    """Settings of :class:`Classifier`."""

    architecture: str = setting("resnet18", "network")
    classes: list[str] = setting([], "names of the classes, in the order of its answers")
    size: int = setting(224, "side that images are scaled to", at_least(32))
    mean: list[float] = setting([0.5, 0.5, 0.5], "subtracted from the channels")
    deviation: list[float] = setting([0.25, 0.25, 0.25], "that the channels are divided by then")


class Classifier(Method):
    """A network from images of any size, in [0, 1], to class probabilities: an oracle."""

    kind = "classifier"
    name = "classifier"
    Config = ClassifierConfig

    def __init__(self, config: ClassifierConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        if c.architecture not in ARCHITECTURES:
            raise SettingsError(
                f"no classifier {c.architecture!r}; there are {', '.join(ARCHITECTURES)}."
                f"{did_you_mean(c.architecture, ARCHITECTURES)}"
            )
        if len(c.classes) < 2 or len(set(c.classes)) != len(c.classes):
            raise SettingsError(f"classifier: expected at least two different classes, got {c.classes}.")
        if not len(c.mean) == len(c.deviation) == 3 or min(c.deviation) <= 0:
            raise SettingsError("classifier: mean and deviation need three values each, deviation above 0.")
        self.network = ARCHITECTURES[c.architecture](len(c.classes), c.size).to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(c.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(c.deviation).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 1 or 3, H, W) in [0, 1] to probabilities (N, classes).

        Raises:
            InputError: for wrong types, shapes, ranges or NaN.
        """
        return self.logits(validation.image("images", images)).softmax(1)

    def logits(self, images: Tensor) -> Tensor:
        """Map checked images, (N, 3, H, W), to logits (N, classes)."""
        x = prepare(images.to(self.device), self.config.size, self.mean, self.deviation)
        with self.subnets():
            return self.network(x.contiguous(memory_format=torch.channels_last)).float()


def prepare(images: Tensor, size: int, mean: Tensor, deviation: Tensor) -> Tensor:
    """Scale to (N, C, size, size), antialiased, and normalise."""
    x = images
    if x.shape[-2:] != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return (x - mean) / deviation
