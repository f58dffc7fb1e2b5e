"""ResNet-50: the classifier of bare images that classification through the hidden channel is held against.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; MONAI's, whose
four projections have biases: 3,840 parameters more than the paper's.

Idea: What a clinic loses by hiding is told by a strong classifier that sees the scan itself. It answers with no image, so it cannot stand
behind a hider; HideMIA's tables of classification have it as their bare reference.

Formula:
    p = softmax(R((x - 0.5) / 0.25))

Weak at: small sets, on which a small network is often as good; it tells no masks.
"""

from __future__ import annotations

from attrs import frozen
from torch import Tensor

from privmed import BareAnalyzer, hookimpl
from privmed.nn.classifiers import ARCHITECTURES
from privmed.settings import at_least, setting


@frozen(kw_only=True)
class ResNet50Config:
    """Settings of :class:`ResNet50`."""

    classes: int = setting(2, "number of the classes", at_least(2))


class ResNet50(BareAnalyzer):
    """ResNet of 50 layers on bare images.

    Raises:
        MissingDependencyError: when MONAI is not installed.
    """

    name = "resnet50"
    Config = ResNet50Config

    def __init__(self, config: ResNet50Config | None = None) -> None:
        super().__init__(config)
        self.network = ARCHITECTURES["resnet50"](self.config.classes, 0)

    def _segment(self, image: Tensor) -> Tensor:
        with self.subnets():
            return self.network((image - 0.5) / 0.25)


@hookimpl
def privmed_register(register) -> None:
    register(ResNet50)
