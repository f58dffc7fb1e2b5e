"""AR: autoregressive noise, drawn without any network.

P. Sandoval-Segura et al., "Autoregressive Perturbations for Data Poisoning", NeurIPS 2022. Each value is a weighted sum of its eight
predecessors in a 3 x 3 window, so a small filter tells the class at once. As UMed adapts it to segmentation, the ROI and the background
are the two classes, and every image gets fresh draws of both.

Idea: A small filter that is right for one process cancels it, and responds to all others, so a network needs only its first layer to tell
such noise apart. The noise looks random and has no edges. No network and no fit are needed, and every image gets a fresh draw.

Formula:
    d_t = sum over i = 1 to 8 of beta_i d_(t-i)  beta: the process of the class, d_(t-i): neighbours before it
    delta = clip(epsilon d / rms(d))

Weak at: whatever averages or compresses: blur, JPEG, grey; and adversarial training.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from privmed import Protector, hookimpl
from privmed.errors import TrainingError
from privmed.settings import at_least, one_of, setting
from privmed_protectors.regions import by_class

L2_REACH = 4.0  # in the l2 ball single values may exceed epsilon; beyond this many epsilon they are cut
TRIALS, LARGEST_NORM, SMALLEST_RESPONSE = 3, 50.0, 10.0  # what the authors accept as a process
CANDIDATES = 256  # tried side by side
CROP = 4  # first rows and columns, still close to the random start


@frozen(kw_only=True)
class ARConfig(Protector.Config):
    """Settings of :class:`AR`."""

    epsilon: float = setting(
        4 / 255, "largest change of a pixel (linf) or their root mean square (l2), on the [0, 1] scale"
    )
    norm: str = setting(
        "linf", "ball the noise lies in; the paper's is l2, where single pixels exceed epsilon", one_of("linf", "l2")
    )
    classes: int = setting(2, "processes; ROI and background need two", at_least(2))


class AR(Protector):
    """Noise of one autoregressive process a class."""

    name = "ar"
    Config = ARConfig

    def __init__(self, config: ARConfig | None = None) -> None:
        super().__init__(config)
        self.register_buffer(
            "coefficients", torch.from_numpy(find_processes(self.config.classes, self.config.seed).copy())
        )

    @property
    def classes(self) -> int:
        return self.config.classes

    @property
    def note(self) -> str:
        if self.config.norm == "linf":
            return ""
        return f"ar: epsilon bounds the root mean square of the change; single pixels change by up to {L2_REACH:g} times that."

    @property
    def reach(self) -> float:
        return self.config.epsilon * (L2_REACH if self.config.norm == "l2" else 1)

    def _protect(self, image: Tensor, mask: Tensor, generators: list[torch.Generator]) -> Tensor:
        wanted = range(2) if mask.ndim == 4 else range(int(mask.max()) + 1)
        patterns = [torch.stack([self._draw(x, k, g) for x, g in zip(image, generators)]) for k in wanted]
        return image + by_class(patterns, mask)

    def _draw(self, x: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """One draw of process k in the shape of ``x`` (C, H, W), scaled to the ball."""
        channels, height, width = x.shape
        start = torch.randn(channels, height + CROP, width + CROP, generator=generator, device=x.device)
        b = self.coefficients[k, :channels].cpu().numpy()
        noise = autoregress(b, start.cpu().double().numpy())[:, CROP:, CROP:]
        scaled = torch.from_numpy(noise / np.sqrt(np.square(noise).mean()) * self.config.epsilon).to(x)
        return scaled if self.config.norm == "l2" else scaled.clamp(-self.config.epsilon, self.config.epsilon)


def autoregress(b: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Run a process over an image in raster order: ``s[i + 2, j + 2] = sum(b * s[i : i + 3, j : j + 3])``.

    A row is the part that comes from the two rows above, a plain correlation, filtered by the second-order recursion within the
    row; identical to the double loop, and many times faster.

    Args:
        b: (C, 3, 3), 0 at [2, 2].
        start: (C, H, W); the first two rows and columns are kept.
    """
    from scipy.signal import lfilter, lfiltic

    s = start.copy()
    channels, height, width = s.shape
    for c in range(channels):
        feedback = [1.0, -b[c, 2, 1], -b[c, 2, 0]]
        for i in range(2, height):
            above = sum(b[c, r, k] * s[c, i - 2 + r, k : k + width - 2] for r in range(2) for k in range(3))
            before = lfiltic([1.0], feedback, [s[c, i, 1], s[c, i, 0]])
            s[c, i, 2:], _ = lfilter([1.0], feedback, above, zi=before)
    return s


@functools.cache
def find_processes(count: int, seed: int) -> np.ndarray:
    """Draw coefficients (count, 3, 3, 3) until each process is stable and the filters of the others respond to it.

    Raises:
        TrainingError: when not enough are found.
    """
    rng = np.random.default_rng([seed, 5])
    found: list[np.ndarray] = []
    for _ in range(8 * count):
        candidates = rng.normal(size=(CANDIDATES, 3, 3, 3))
        candidates[..., 2, 2] = 0
        candidates /= candidates.sum((2, 3), keepdims=True)
        for b in candidates[stable(candidates, rng)]:
            pattern = autoregress(b, rng.normal(size=(3, 36, 36)))[:, CROP:, CROP:]
            if all(response(other, pattern) >= SMALLEST_RESPONSE for other in found):
                found.append(b)
            if len(found) == count:
                return np.stack(found)
    raise TrainingError(f"ar: found only {len(found)} of {count} processes. Try another seed, or fewer classes.")


def stable(candidates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which processes stay small in every trial, (K,) bool; all of them run side by side."""
    kept = np.ones(len(candidates), dtype=bool)
    for _ in range(TRIALS):
        s = rng.normal(size=(len(candidates), 3, 36, 36))
        with np.errstate(all="ignore"):
            for i in range(34):
                for j in range(34):
                    s[:, :, i + 2, j + 2] = np.einsum("kcrs,kcrs->kc", candidates, s[:, :, i : i + 3, j : j + 3])
            norms = np.sqrt(np.square(s[:, :, CROP:, CROP:]).sum((1, 2, 3)))
        kept &= np.isfinite(norms) & (norms <= LARGEST_NORM)
    return kept


def response(b: np.ndarray, pattern: np.ndarray) -> float:
    """How strongly the filter that cancels process ``b`` responds to a pattern (C, H, W); 0 for its own."""
    kernel = b.copy()
    kernel[:, 2, 2] = -1
    answer = F.conv2d(torch.from_numpy(pattern)[None], torch.from_numpy(kernel)[None])
    return float(answer.relu().sum())


@hookimpl
def privmed_register(register):
    register(AR)
