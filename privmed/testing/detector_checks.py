"""Checks of detectors."""

from __future__ import annotations

import torch
from torch import Tensor

from privmed.bench.contracts import Detector
from privmed.testing.protector_checks import sample_pair


class Mirror:
    """Stands for a public hider: what it recovers is the image."""

    @staticmethod
    def recover(stego: Tensor, **_how) -> Tensor:
        return stego


def _images() -> tuple[Tensor, Tensor]:
    """Smooth photographs, and the same with noise that anybody sees, (8, 3, 48, 48) uint8."""
    covers = (sample_pair(8, size=(48, 48))[0] * 155 + 50).byte()
    noise = torch.randint(-40, 41, covers.shape, generator=torch.Generator().manual_seed(0))
    return covers, (covers + noise).clamp(0, 255).byte()


def _fitted(detector: Detector, covers: Tensor, stegos: Tensor) -> Mirror:
    detector.fit(covers, stegos, Mirror())
    return Mirror()


def check_detector_gives_a_score_an_image(detector: Detector) -> None:
    """One finite number an image, of that image alone; images are left as they were."""
    covers, stegos = _images()
    before = stegos.clone()
    public = _fitted(detector, covers, stegos)
    scores = detector.score(stegos, public)
    assert scores.shape == (8,), f"got {tuple(scores.shape)}"
    assert scores.isfinite().all(), "not finite"
    torch.testing.assert_close(scores, torch.cat([detector.score(x[None], public) for x in stegos]))
    assert torch.equal(stegos, before), "the images were written to"


def check_detector_learns_afresh(detector: Detector) -> None:
    """Fitting again forgets what was learnt before, and the same examples give the same scores."""
    covers, stegos = _images()
    public = _fitted(detector, covers, stegos)
    first = detector.score(stegos, public)
    detector.fit(stegos, covers, public)
    detector.fit(covers, stegos, public)
    torch.testing.assert_close(detector.score(stegos, public), first)
