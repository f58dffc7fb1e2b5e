"""The networks that exploiters train."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from privmed import hookimpl
from privmed.bench.contracts import Exploiter
from privmed.errors import MissingDependencyError
from privmed.nn.attention_unet import AttentionUNet
from privmed.nn.transunet import TransUNet
from privmed.nn.unet import UNet
from privmed.nn.unetpp import UNetPlusPlus


class _FirstOf(nn.Module):
    """A network that gives a list, as one that gives a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def _monai() -> object:
    try:
        from monai.networks import nets
    except ImportError as error:
        raise MissingDependencyError("this exploiter needs MONAI: pip install 'privmed[monai]'.") from error
    return nets


class UNetExploiter(Exploiter):
    """U-Net, as the surrogates of protectors."""

    name = "unet"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        return UNet(3, 1, width, silent=False)


class AttentionUNetExploiter(Exploiter):
    """Attention U-Net."""

    name = "attention-unet"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        return AttentionUNet(3, 1, width)


class UNetPlusPlusExploiter(Exploiter):
    """U-Net++, half as wide as the others, as in its paper."""

    name = "unet++"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        return UNetPlusPlus(3, 1, width // 2)


class TransUNetExploiter(Exploiter):
    """TransUNet, with the paper's depth from a width of 64 on."""

    name = "transunet"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        return TransUNet(3, 1, width, depth=12 if width >= 64 else 4)


class ResNet18(Exploiter):
    """ResNet-18 of MONAI."""

    name, task = "resnet18", "classification"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        widths = [width * 2**i for i in range(4)]
        return _monai().ResNet("basic", [2, 2, 2, 2], widths, 2, 3, conv1_t_stride=2, num_classes=classes)


class DenseNet121(Exploiter):
    """DenseNet-121 of MONAI; it grows by half its width."""

    name, task = "densenet121", "classification"

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        return _monai().DenseNet121(2, 3, classes, init_features=width, growth_rate=max(2, width // 2))


class VisionTransformer(Exploiter):
    """Vision transformer of MONAI: patches of 16 pixels, three times ``width`` in a token."""

    name, task = "vit", "classification"
    expected_failures: ClassVar = {
        "check_network_learns": "MONAI's transformer holds weights that a classifier leaves idle"
    }

    def network(self, width: int, classes: int = 0, size: int = 0) -> nn.Module:
        network = _monai().ViT(
            3, (size, size), (16, 16), hidden_size=3 * width, mlp_dim=12 * width, num_layers=6, num_heads=3,
            classification=True, num_classes=classes, spatial_dims=2, post_activation="none",
        )  # fmt: skip
        return _FirstOf(network)


@hookimpl
def privmed_register(register):
    for exploiter in (
        UNetExploiter,
        AttentionUNetExploiter,
        UNetPlusPlusExploiter,
        TransUNetExploiter,
        ResNet18,
        DenseNet121,
        VisionTransformer,
    ):
        register(exploiter)
