"""HideMIA: mine a hidden scan in the wavelet sub-bands of its stego, and answer inside the photograph.

X. Lin et al., "HideMIA: Hidden Wavelet Mining for Privacy-Enhancing Medical Image Analysis", ACM MM 2024. Four U-Nets, one a Haar
sub-band; MoDC in their encoders (Eq. 2 and 3), AsyWA between them (Eq. 4 to 6), and the stego's LL band added to the answer (Eq. 1).

Idea: What a hider leaves of a scan lies in the wavelet bands of its stego, faint and different in each. So each band has a U-Net of its
own, whose convolutions choose among differences in several directions (MoDC) to see faint edges. Between them, attention lets the low
band ask the high ones, and these each other; none of them asks the low one, which is nearly the photograph (AsyWA). The answer is added to
bands of the stego, so that the response looks like the photograph still. The client recovers an image from it with the hider, and a fixed
formula makes probabilities of that.

Formula:
    LL, LH, HL, HH = haar(stego)
    b' = U_b(b), with MoDC and AsyWA inside      for each band b
    response = inverse_haar(LL' + LL, LH', HL', HH')     the bands of `residual_bands` keep the stego's
    answer = recover(response),  p = sigmoid(g (mean(answer) - t))

Weak at: stegos of any other hider than the one its card names; images unlike the hundred or so that its weights were trained on; scans with
nothing to find: the weights `busi` mark something on half of those without a lesion. The weights `isic` say of 6 % of stegos that nothing
was hidden. Who has the hider's public weights can extract the scan, the server included.
"""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from privmed import Analyzer, hookimpl
from privmed.imaging.wavelets import Subbands, haar, inverse_haar
from privmed.nn.unet import LEVELS, UNet
from privmed.settings import at_least, between, one_of, setting
from privmed_analyzers.decoding import DecoderConfig, OutputDecoder
from privmed_analyzers.hidemia.asywa import BANDS, AsyWA
from privmed_analyzers.hidemia.modc import MoDC


def subset_of(*choices: Any):
    """Accept a list of distinct values among ``choices``."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        if len(set(value)) != len(value) or not set(value) <= set(choices):
            raise ValueError(
                f"{attribute.name} must be distinct values among {', '.join(map(str, choices))}, got {list(value)}"
            )

    check.says = f"some of {', '.join(map(str, choices))}"  # type: ignore[attr-defined]
    return check


@frozen(kw_only=True)
class HideMIAConfig(DecoderConfig):
    """Settings of :class:`HideMIA`; every ablation of the paper's Tables 3 to 6 is a value here.

    The defaults are the paper's, but for the reading (gain 10, threshold 0.5; the paper: 1 and 0), the projected diagonals, the softmax,
    who asks, and the width. The bundled weights also keep all four bands of the stego (``residual_bands``); the paper keeps LL alone.
    """

    width: int = setting(
        16, "channels of the first level of each sub-band's U-Net (the paper does not say)", at_least(2)
    )
    k: int = setting(2, "difference convolutions in use at once; 0 for vanilla convolutions", between(0, 5))
    candidates: list[int] = setting([1, 2, 3, 4, 5], "difference convolutions to choose from", subset_of(1, 2, 3, 4, 5))
    strength: float = setting(0.5, "lambda, the weight of the difference convolutions", between(0, 1))
    diagonal: str = setting("projected", "D4 and D5: projected, or literal as printed", one_of("projected", "literal"))
    attention: str = setting("both", "which attention", one_of("none", "inner", "inter", "both"))
    symmetric: bool = setting(False, "whether high bands listen to LL too")
    attention_kernel: str = setting("softmax", "softmax, or linear as printed", one_of("softmax", "linear"))
    query_from: str = setting("receiver", "who asks; printed: source", one_of("receiver", "source"))
    attention_levels: list[int] = setting(
        [1, 2, 3, 4], "encoder levels followed by attention", subset_of(*range(LEVELS))
    )
    residual_bands: list[str] = setting(["ll"], "bands that keep the stego's band; the paper: ll", subset_of(*BANDS))

    def __attrs_post_init__(self) -> None:
        if self.k > len(self.candidates):
            raise ValueError(f"k is {self.k}, but there are only {len(self.candidates)} candidates")


class HideMIA(Analyzer):
    """Four sub-band U-Nets with MoDC and AsyWA."""

    name = "hidemia"
    Config = HideMIAConfig
    check_settings = {"width": 4}  # noqa: RUF012
    default_weights = "busi"

    def __init__(self, config: HideMIAConfig | None = None) -> None:
        super().__init__(config)
        c = self.config

        def conv(inputs: int, outputs: int) -> nn.Module:
            return MoDC(inputs, outputs, c.k, c.strength, tuple(c.candidates), c.diagonal)

        self.networks = nn.ModuleDict({band: UNet(width=c.width, conv=conv) for band in BANDS})
        self.attention = nn.ModuleDict(
            {
                str(level): AsyWA(
                    c.width * 2**level,
                    inner=c.attention in ("inner", "both"),
                    inter=c.attention in ("inter", "both"),
                    symmetric=c.symmetric,
                    kernel=c.attention_kernel,
                    query_from=c.query_from,
                )
                for level in (c.attention_levels if c.attention != "none" else [])
            }
        )
        self.output_decoder = OutputDecoder(c)
        self.to(memory_format=torch.channels_last)

    def _analyze(self, stego: Tensor, generator: torch.Generator) -> Tensor:
        bands = haar(stego)._asdict()
        with self.subnets():
            answer = dict(zip(BANDS, self._mine([bands[b] for b in BANDS])))
        kept = {b: bands[b] if b in self.config.residual_bands else 0 for b in BANDS}
        return inverse_haar(Subbands(**{b: answer[b].float() + kept[b] for b in BANDS}))

    def _mine(self, bands: list[Tensor]) -> list[Tensor]:
        """Walk the four U-Nets side by side, attending between their levels."""
        networks = list(self.networks.values())
        x = [band.contiguous(memory_format=torch.channels_last) for band in bands]
        features: list[list[Tensor]] = []
        for level in range(LEVELS):
            x = [network.down(level, band) for network, band in zip(networks, x)]
            if str(level) in self.attention:
                x = self.attention[str(level)](x)
            features.append(x)
        return [network.climb(list(own)) for network, own in zip(networks, zip(*features))]

    def _decode(self, recovered: Tensor) -> Tensor:
        return self.output_decoder(recovered)

    def _presence(self, recovered: Tensor) -> Tensor | None:
        return self.output_decoder.presence(recovered)


@hookimpl
def privmed_register(register) -> None:
    register(HideMIA)
