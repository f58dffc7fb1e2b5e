"""SRNet: a residual network that finds what was hidden in images.

M. Boroumand, M. Chen, J. Fridrich, "Deep Residual Network for Steganalysis of Digital Images", IEEE TIFS 2019. Seven layers keep the full
resolution, since pooling would average the hidden signal away; four then halve it, and the mean over all places is classified, so that
any size of image will do.
"""

from __future__ import annotations

from torch import Tensor, nn

UNPOOLED = 5  # residual layers at full resolution (layers 3 to 7)


def conv(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    """Layer of type 2, without pooling; of type 3 where it halves the sides.

    Args:
        inputs: channels in.
        outputs: channels out, the same for type 2.
        halve: pool what the convolutions give, and take every second place of what goes past them.
    """

    def __init__(self, inputs: int, outputs: int, *, halve: bool = False) -> None:
        super().__init__()
        pool = [nn.AvgPool2d(3, 2, padding=1)] if halve else []
        self.change = nn.Sequential(conv(inputs, outputs), nn.ReLU(), conv(outputs, outputs), *pool)
        self.past = conv(inputs, outputs, 1, 2) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or to sides of half the length, rounded up."""
        return self.past(x) + self.change(x)


class SRNet(nn.Module):
    """The network of the paper, of which ``width`` is 16 and ``inputs`` 1.

    Args:
        inputs: channels of the image.
        width: channels of the layers without pooling; the first has four times, the last 32 times as many.
    """

    def __init__(self, inputs: int = 3, width: int = 16) -> None:
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            *(conv(inputs, 4 * w), nn.ReLU(), conv(4 * w, w), nn.ReLU()),
            *(Residual(w, w) for _ in range(UNPOOLED)),
            *(Residual(a, b, halve=True) for a, b in ((w, w), (w, 4 * w), (4 * w, 8 * w), (8 * w, 16 * w))),
            *(conv(16 * w, 32 * w), nn.ReLU(), conv(32 * w, 32 * w)),
        )
        self.head = nn.Linear(32 * w, 2)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W), in grey levels, to logits (B, 2) of cover and stego."""
        return self.head(self.layers(x).mean((2, 3)))
