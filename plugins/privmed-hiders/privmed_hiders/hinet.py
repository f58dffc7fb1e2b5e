"""HiNet: hide an image in another with an invertible network in the Haar domain.

J. Jing, X. Deng, M. Xu, J. Wang, Z. Guan, "HiNet: Deep Image Hiding by Invertible Network", ICCV 2021. Names follow the
paper: phi, rho and eta are the sub-networks of a block, alpha bounds its log-scale, z is the latent that replaces the lost
information r.

As printed, layer i of a dense block convolves the concatenation of the input and all features before it. Those copies, not the
arithmetic, are most of the time of a training step. A convolution of a concatenation is a sum of convolutions, so each feature is instead
convolved *once*, with the matching slices of all later kernels side by side, and pushed into the layers that wait for it. Same
parameters, same result, no copy, and wider convolutions.

Idea: Cover and secret are split into Haar bands, and blocks of two branches add to each what a small network makes of the other. Every
block can be undone exactly, so recovering is hiding run backwards with the same parameters. What does not fit into the stego, r, is thrown
away, and a latent z stands in for it on the way back. The paper's loss wants the stego to look like the cover, above all in its low band,
and what comes back to be the secret (lambda_s is 5, lambda_c and lambda_f are 1); the bundled weights were trained without the term of the
low band.

Formula:
    c' = c + phi(s)                              c, s: Haar bands of cover and secret
    s' = s exp(l(c')) + eta(c'),  l = alpha (2 sigmoid(rho) - 1)
    back: s = (s' - eta(c')) exp(-l(c')),  c = c' - phi(s)
    loss = lambda_c |stego - cover|^2 + lambda_s |recovered - secret|^2 + lambda_f |LL(stego) - LL(cover)|^2

Weak at: any re-encoding of the stego (JPEG, scaling, blur); detection, which was not measured for it and must be expected as of LightIH,
whose stegos the public weights run backwards find; whoever has the weights can extract the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from privmed import Hider, hookimpl
from privmed.imaging.wavelets import from_hinet, haar, inverse_haar, to_hinet
from privmed.settings import at_least, one_of, positive, setting
from privmed_hiders.patches import patchwise

Precision = Callable[[], AbstractContextManager]
LAYERS = 5


class DenseBlock(nn.Module):
    """Dense block of HiNet: five 3x3 convolutions, LeakyReLU after the first four.

    At the start the last layer is zero and every other parameter is drawn from N(0, 0.01^2), so the block returns zero.

    Args:
        width: channels of input and output.
        growth: channels of each inner layer.
    """

    def __init__(self, width: int, growth: int = 32) -> None:
        super().__init__()
        self.width, self.growth = width, growth
        for i in range(LAYERS):
            out = growth if i < LAYERS - 1 else width
            self.add_module(f"conv{i + 1}", nn.Conv2d(width + i * growth, out, 3, padding=1))
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.01)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    @property
    def layers(self) -> list[nn.Conv2d]:
        """The convolutions, first to last."""
        return [getattr(self, f"conv{i + 1}") for i in range(LAYERS)]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to (B, width, H, W)."""
        return patchwise(self._convolved, x, LAYERS)

    def _convolved(self, x: Tensor) -> Tensor:
        kernels = [layer.weight for layer in self.layers]
        biases = torch.cat([layer.bias for layer in self.layers])
        waiting = F.conv2d(x, torch.cat([k[:, : self.width] for k in kernels]), biases, padding=1)
        for i in range(LAYERS - 1):
            feature = F.leaky_relu(waiting[:, : self.growth], 0.01)
            first = self.width + i * self.growth
            slices = torch.cat([k[:, first : first + self.growth] for k in kernels[i + 1 :]])
            waiting = F.conv2d(feature, slices, padding=1).add_(waiting[:, self.growth :])
        return waiting


class CouplingBlock(nn.Module):
    """One invertible step on the branches of cover and secret.

    The sub-networks may run in bfloat16; the coupling itself stays in float32, because the inverse undoes it exactly only if
    both directions add and multiply the same values.

    Args:
        width: channels of each branch, four bands a colour.
        alpha: bound of the log-scale; the scale lies in [exp(-alpha), exp(alpha)].
    """

    def __init__(self, width: int, alpha: float) -> None:
        super().__init__()
        self.phi, self.rho, self.eta = (DenseBlock(width) for _ in range(3))
        self.alpha = alpha

    def forward(self, cover: Tensor, secret: Tensor, precision: Precision = nullcontext) -> tuple[Tensor, Tensor]:
        """Map both branches, each (B, width, H, W), one step towards stego and lost information."""
        cover = cover + self.added(secret, precision)
        secret = secret * torch.exp(self.log_scale(cover, precision)) + self._run(self.eta, cover, precision)
        return cover, secret

    def inverse(self, cover: Tensor, secret: Tensor, precision: Precision = nullcontext) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        secret = (secret - self._run(self.eta, cover, precision)) * torch.exp(-self.log_scale(cover, precision))
        cover = cover - self.added(secret, precision)
        return cover, secret

    def added(self, secret: Tensor, precision: Precision) -> Tensor:
        """What a secret's branch adds to the cover's: ``phi(secret)``."""
        return self._run(self.phi, secret, precision)

    def log_scale(self, x: Tensor, precision: Precision) -> Tensor:
        """``alpha * (2 * sigmoid(rho(x)) - 1)``, written with tanh."""
        return self.alpha * torch.tanh(self._run(self.rho, x, precision) / 2)

    @staticmethod
    def _run(subnet: nn.Module, x: Tensor, precision: Precision) -> Tensor:
        with precision():
            return subnet(x).to(x.dtype)

    @torch.no_grad()
    def rotate(self, basis: Tensor) -> None:
        """Let the block do to the cover's branch in coordinates ``basis @ cover`` what it does in ``cover``."""
        for net in (self.rho, self.eta):  # they read the cover's branch
            for layer in net.layers:
                kernels = layer.weight[:, : net.width]
                kernels.copy_(torch.einsum("oihw,ij->ojhw", kernels, basis))
        last = self.phi.layers[-1]  # what is added to it
        last.weight.copy_(torch.einsum("po,oihw->pihw", basis.T, last.weight))
        last.bias.copy_(basis.T @ last.bias)


class InvertibleStack(nn.ModuleList):
    """Coupling blocks on the Haar bands of a cover and a secret, in HiNet's order of bands."""

    def __init__(
        self, blocks: int, alpha: float, channels: int = 3, block: type[CouplingBlock] = CouplingBlock
    ) -> None:
        super().__init__(block(4 * channels, alpha) for _ in range(blocks))

    def run(self, cover: Tensor, secret: Tensor, blocks: range, precision: Precision) -> tuple[Tensor, Tensor]:
        """Apply the blocks of a range in its order; a range that counts down applies their inverses."""
        for i in blocks:
            step = self[i].forward if blocks.step > 0 else self[i].inverse
            cover, secret = step(cover, secret, precision)
        return cover, secret


def rotation(colours: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix of the stacked bands, (4C, 4C), after which a photograph still looks like one to the network.

    LL stays; the grey part of each detail band keeps its size and gets a random sign; their colour parts, in which photographs hold little
    and the network hides much, are turned among themselves.
    """
    grey = torch.full((1, colours), colours**-0.5)
    colour = torch.linalg.svd(grey)[2][1:]  # what is orthogonal to grey, (C - 1, C)
    q, r = torch.linalg.qr(torch.randn(3 * (colours - 1), 3 * (colours - 1), generator=generator))
    turned = q * r.diagonal().sign()  # signs make the draw uniform
    signs = torch.randint(0, 2, (3,), generator=generator) * 2.0 - 1
    each = torch.block_diag(*[colour] * 3)
    details = torch.kron(torch.diag(signs), grey.T @ grey) + each.T @ turned @ each
    return torch.block_diag(torch.eye(colours), details)


def bands(image: Tensor) -> Tensor:
    """Haar bands of (B, C, H, W), stacked as (B, 4C, H/2, W/2) in the memory order convolutions like best."""
    return to_hinet(haar(image)).contiguous(memory_format=torch.channels_last)


def image(stack: Tensor) -> Tensor:
    """Undo :func:`bands`."""
    return inverse_haar(from_hinet(stack))


@frozen(kw_only=True)
class HiNetConfig(Hider.Config):
    """Settings of :class:`HiNet`: the paper's, but for the latent (z = 0 gives the same answer every time)."""

    blocks: int = setting(16, "invertible blocks", at_least(1))
    alpha: float = setting(2.0, "bound of the log-scale of a block (`clamp` in HiNet's code)", positive())
    latent: str = setting("zero", "what recover puts in place of the lost information", one_of("zero", "normal"))


class HiNet(Hider):
    """Sixteen invertible blocks; 4,050,240 parameters. Untrained it is the identity: the stego is the cover.

    Hides with blocks that map cover and secret to stego and lost information; recovers with their inverses.

    Also offers the abilities ``stages`` (:meth:`encode` and :meth:`run` stop between blocks and go on from any state of the same shape,
    also one that another network made) and ``fork``.
    """

    name = "hinet"
    Config = HiNetConfig
    check_settings = {"blocks": 2}  # noqa: RUF012
    default_weights = "general"
    tile = 1024

    def __init__(self, config: HiNetConfig | None = None) -> None:
        super().__init__(config)
        self.blocks = InvertibleStack(self.config.blocks, self.config.alpha)
        self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> int:
        """How many steps :meth:`run` can stop between."""
        return len(self.blocks)

    def encode(self, secret: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
        """State before the first stage: the bands of cover and secret, each (B, 12, H/2, W/2)."""
        return bands(cover), bands(secret)

    def run(self, state: tuple[Tensor, Tensor], first: int, last: int) -> tuple[Tensor, Tensor]:
        """Apply stages ``first`` to ``last - 1``; with ``first > last`` undo stages ``first - 1`` down to ``last``."""
        stages = range(first, last) if first <= last else range(first - 1, last - 1, -1)
        return self.blocks.run(*state, stages, self.subnets)

    def latent(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """What stands for the lost information, in the shape of ``like``."""
        if self.config.latent == "zero":
            return torch.zeros_like(like)
        return torch.empty_like(like).normal_(generator=generator)

    def fork(self, generator: torch.Generator) -> None:
        """Turn to a random relative: the same weights in other coordinates of the cover's detail bands.

        It is as invertible, hides in other directions of colour, and reads nothing of what the weights before it hid; it hides worse, until
        it is trained.
        """
        basis = rotation(3, generator).to(self.device)
        for block in self.blocks:
            block.rotate(basis)

    def picture(self, part: Tensor) -> Tensor:
        """An image of its bands, (B, 12, H/2, W/2), unclamped."""
        return image(part)

    def _hide(self, secret: Tensor, cover: Tensor, generator: torch.Generator) -> Tensor:
        stego, _lost = self.run(self.encode(secret, cover), 0, self.stages)
        return self.picture(stego)

    def _recover(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        state = bands(stego)
        _cover, secret = self.run((state, self.latent(state, generator)), self.stages, 0)
        return self.picture(secret)


@hookimpl
def privmed_register(register) -> None:
    register(HiNet)
