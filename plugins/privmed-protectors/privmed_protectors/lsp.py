"""LSP: linearly separable synthetic noise, drawn without any network.

D. Yu et al., "Availability Attacks Create Shortcuts", KDD 2022. As UMed adapts it to segmentation, the ROI and the background are the
two classes, and every image gets fresh draws of both.

A class is a vertex of a hypercube of half side ``separation``; a draw is that vertex plus Gaussian noise, one value a patch and
channel. The authors take the draws from scikit-learn's ``make_classification``, whose noise is correlated by a random square matrix with
entries in [-1, 1]; ours is white with the same variance, a third of the number of values, which works at any image size.

Idea: What models learn first are shortcuts, and the plainest shortcut is a linear one. Patches of a few values, drawn around a point of its
own for each class, give it. No network and no fit are needed, and every image gets a fresh draw.

Formula:
    d = separation v_y + n                       v_y: a vertex of {-1, 1}^k for each class, n: Gaussian
    delta = clip(epsilon d / rms(d)),  one value of d a patch and channel

Weak at: whatever averages or compresses: blur, JPEG, grey; and adversarial training.
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Protector, hookimpl
from privmed.settings import at_least, one_of, positive, setting, side
from privmed_protectors.regions import by_class

L2_REACH = 4.0  # in the l2 ball single values may exceed epsilon; beyond this many epsilon they are cut


@frozen(kw_only=True)
class LSPConfig(Protector.Config):
    """Settings of :class:`LSP`."""

    epsilon: float = setting(
        4 / 255, "largest change of a pixel (linf) or their root mean square (l2), on the [0, 1] scale"
    )
    norm: str = setting(
        "linf", "ball the noise lies in; the paper's is l2, where single pixels exceed epsilon", one_of("linf", "l2")
    )
    patch: int = setting(8, "side of the squares of one value, in pixels at the side size", at_least(1))
    size: int = setting(
        224,
        "side to which exploiters bring all images; squares of larger or smaller ones are stretched with them",
        side(),
    )
    separation: float = setting(10.0, "half the side of the hypercube the classes sit on", positive())


class LSP(Protector):
    """Patches of noise from linearly separable classes."""

    name = "lsp"
    Config = LSPConfig

    @property
    def note(self) -> str:
        if self.config.norm == "linf":
            return ""
        return f"lsp: epsilon bounds the root mean square of the change; single pixels change by up to {L2_REACH:g} times that."

    @property
    def reach(self) -> float:
        return self.config.epsilon * (L2_REACH if self.config.norm == "l2" else 1)

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        classes = 2 if mask.ndim == 4 else int(mask.max()) + 1
        patterns = [torch.stack([self._draw(x, k, g) for x, g in zip(image, generators)]) for k in range(classes)]
        return image + by_class(patterns, mask)

    def _draw(self, x: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """One draw of class k in the shape of ``x`` (C, H, W), scaled to the ball."""
        vertex = self._vertex(k, x.shape[0]).to(x.device)
        spread = math.sqrt(vertex.numel() / 3)
        values = self.config.separation * vertex + spread * torch.randn(
            vertex.shape, generator=generator, device=x.device
        )
        noise = nn.functional.interpolate(values[None], x.shape[-2:], mode="nearest")[0]
        noise = noise / noise.square().mean().sqrt() * self.config.epsilon
        return noise if self.config.norm == "l2" else noise.clamp(-self.config.epsilon, self.config.epsilon)

    def _vertex(self, k: int, channels: int) -> Tensor:
        """Signs of the k-th class, the same for all images; a class and its neighbour differ in half of them."""
        rows = columns = -(-self.config.size // self.config.patch)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + k)
        return 2.0 * torch.randint(0, 2, (channels, rows, columns), generator=generator) - 1


@hookimpl
def privmed_register(register):
    register(LSP)
