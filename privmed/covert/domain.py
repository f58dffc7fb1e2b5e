"""Whether an input is like what weights were trained on.

A model card carries the mean and the covariance of a few features of its training scans, of what the hider reads out of the
responses to them, and of what it reads where nothing was hidden. What lies farther from the mean (Mahalanobis distance) than nearly
every training image did, each held out in turn, is outside: an analyzer has an output for that, too, but it means nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn import functional as F

from privmed.errors import InputError, WeightsError
from privmed.weights import spoken

if TYPE_CHECKING:
    from privmed.interfaces import Analyzer

SIDE = 128  # features are those of the image at this size, so that they hold for scans of any resolution
QUANTILE = 0.995
RIDGE = 0.02  # spread that every feature is granted at least; grey scans have none in colour
FLOOR = 1e-3  # of what is taken the logarithm of
ENDS = (0.01, 0.99)  # quantiles that stand for the darkest and the brightest
FEATURES = (
    "brightness",
    "contrast",
    "red against green",
    "yellow against blue",
    "colour spread",
    "roughness",
    "fine detail",
    "dark end",
    "bright end",
    "share of mid-tones",
)


def features(image: Tensor) -> Tensor:
    """Features of images (B, 3, H, W), as ``FEATURES`` names them; (B, 10) float64.

    All but the ends are those of the image cut off to [0, 1]. What was recovered from a response is best given unclamped, since a clear
    output exceeds that range.
    """
    x = F.interpolate(image.detach().cpu().double(), (SIDE, SIDE), mode="bilinear", antialias=True)
    ends = x.mean(1).flatten(1).quantile(torch.tensor(ENDS, dtype=x.dtype), 1)
    red, green, blue = x.clamp(0, 1).unbind(1)
    grey = x.clamp(0, 1).mean(1)
    first, second = red - green, (red + green) / 2 - blue  # opponent colours (Hasler and Suesstrunk, 2003)
    fine = grey - F.avg_pool2d(grey[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    columns = (
        grey.flatten(1).mean(1),
        grey.flatten(1).std(1),
        first.flatten(1).mean(1),
        second.flatten(1).mean(1),
        (first.flatten(1).var(1) + second.flatten(1).var(1)).sqrt(),
        (1 - neighbour_correlation(grey) + FLOOR).log10(),
        (fine.flatten(1).std(1) + FLOOR).log10(),
        *ends,
        ((grey - 0.5).abs() < 0.3).double().flatten(1).mean(1),
    )
    return torch.stack(columns, 1)


def neighbour_correlation(plane: Tensor) -> Tensor:
    """Correlation of each pixel with its right and its lower neighbour, their mean, of (B, H, W); 1 for a constant image."""
    across = _correlation(plane[:, :, :-1], plane[:, :, 1:])
    return (across + _correlation(plane[:, :-1], plane[:, 1:])) / 2


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    scale = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return torch.where(scale > 1e-9, (a * b).sum(1) / scale.clamp_min(1e-9), torch.ones_like(scale))


@frozen(eq=False)
class Domain:
    """Where the features of images lie that weights were trained on.

    Attributes:
        mean: (10,).
        covariance: (10, 10), with the ridge in it.
        threshold: the distance that only ``1 - QUANTILE`` of the training images exceed, each held out in turn.
        images: how many there were.
    """

    mean: Tensor
    covariance: Tensor
    threshold: float
    images: int

    @classmethod
    def fit(cls, seen: Tensor) -> Domain:
        """Describe features (N, 10) of training images; at least three, as each is held out in turn.

        Raises:
            InputError: for fewer.
        """
        if len(seen) < 3:
            raise InputError(f"expected the features of at least 3 images, got {len(seen)}.")
        held_out = [_of(torch.cat([seen[:i], seen[i + 1 :]])).distance(seen[i]) for i in range(len(seen))]
        return evolve(_of(seen), threshold=float(torch.tensor(held_out).quantile(QUANTILE)))

    def distance(self, one: Tensor) -> float:
        """Mahalanobis distance of the features (10,) of one image."""
        away = one - self.mean
        return float((away @ torch.linalg.solve(self.covariance, away)).sqrt())

    def nearer(self, other: Domain, one: Tensor) -> bool:
        """Whether features (10,) lie nearer to ``other`` than to this, in the covariance of both (Fisher's discriminant)."""
        mine, theirs = self.images - 1, other.images - 1
        shared = (mine * self.covariance + theirs * other.covariance) / (mine + theirs)
        here, there = (evolve(domain, covariance=shared).distance(one) for domain in (self, other))
        return there < here

    def oddest(self, one: Tensor) -> str:
        """The feature that is farthest off, in words."""
        spread = self.covariance.diagonal().sqrt()
        at = int(((one - self.mean) / spread).abs().argmax())
        return f"{FEATURES[at]} {float(one[at]):.2f}, expected {float(self.mean[at]):.2f} ± {float(spread[at]):.2f}"

    def to_card(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "features": list(FEATURES),
            "mean": [round(v, 5) for v in self.mean.tolist()],
            "covariance": [[round(v, 7) for v in row] for row in self.covariance.tolist()],
            "threshold": round(self.threshold, 3),
            "images": self.images,
        }

    @classmethod
    def from_card(cls, card: Any) -> Domain:
        """Undo :meth:`to_card`.

        Raises:
            WeightsError: when a card holds something else.
        """
        try:
            mean = torch.tensor(card["mean"], dtype=torch.float64)
            covariance = torch.tensor(card["covariance"], dtype=torch.float64)
            domain = cls(mean, covariance, float(card["threshold"]), int(card["images"]))
            if card["features"] != list(FEATURES) or mean.shape != (len(FEATURES),):
                raise ValueError("other features")
            if not (mean.isfinite().all() and covariance.isfinite().all() and math.isfinite(domain.threshold)):
                raise ValueError("not finite")
            torch.linalg.cholesky(covariance)  # fails for what is no covariance
            domain.distance(mean)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError("the model card's statistics of its training images (domain) cannot be read.") from error
        return domain


def _of(seen: Tensor) -> Domain:
    ridge = RIDGE**2 * torch.eye(len(FEATURES), dtype=torch.float64)
    return Domain(seen.mean(0), seen.T.cov() + ridge, math.inf, len(seen))


def unfamiliar_secret(analyzer: Analyzer, secret: Tensor, what: str) -> list[str]:
    """Warn of a scan (1, 3, H, W) that lies outside of what an analyzer's weights were trained on.

    Args:
        analyzer: whose card holds the statistics; one without any warns of nothing.
        secret: the scan, in [0, 1].
        what: the scan, for people.

    Returns:
        One sentence with the distance and what was expected, or none.

    Raises:
        WeightsError: when the card's statistics cannot be read.
    """
    far = _far(_known(analyzer, "secret"), secret)
    return [f"{what}: the scan is unlike those that {spoken(analyzer)} was trained on {far}. {NOTHING}"] if far else []


def unfamiliar_output(analyzer: Analyzer, recovered: Tensor, what: str) -> list[str]:
    """Warn of what was recovered from a response, (1, 3, H, W) and unclamped, that is unlike all that training scans gave.

    Arguments, returns and errors are those of :func:`unfamiliar_secret`.
    """
    if no_stego(analyzer, recovered):
        return [
            f"{what}: what comes back looks more like what {spoken(analyzer)} answers where nothing is hidden than like its answer "
            f"to a scan. {NOTHING}"
        ]
    far = _far(_known(analyzer, "answer"), recovered)
    return (
        [f"{what}: what comes back is unlike the answers of {spoken(analyzer)} to scans it knows {far}. {NOTHING}"]
        if far
        else []
    )


def no_stego(analyzer: Analyzer, recovered: Tensor) -> bool:
    """Whether what was recovered from a response, (1, 3, H, W) and unclamped, answers a photograph in which nothing was hidden.

    An analyzer that was trained to tell says so itself; for others the statistics of its card decide, and without any the answer is no.

    Raises:
        WeightsError: when the card's statistics cannot be read.
    """
    told = analyzer.presence(recovered)
    if told is not None:
        return float(told) < 0.5
    usual, bare = (_known(analyzer, name) for name in ("answer", "nothing"))
    return bool(usual and bare and usual.nearer(bare, features(recovered)[0]))


NOTHING = "The result may mean nothing."


def _known(analyzer: Analyzer, name: str) -> Domain | None:
    known = (analyzer.card or {}).get("domain") or {}
    return Domain.from_card(known[name]) if name in known else None


def _far(domain: Domain | None, image: Tensor) -> str:
    """How far outside an image lies, in words; empty if it does not."""
    if domain is None:
        return ""
    one = features(image)[0]
    distance = domain.distance(one)
    if distance <= domain.threshold:
        return ""
    return f"(distance {distance:.1f}, expected at most {domain.threshold:.1f}; {domain.oddest(one)})"
