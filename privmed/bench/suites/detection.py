"""Detection: whether photographs with something in them can be told from those without, by detectors of increasing strength.

Each detector is trained on photographs of one source, with scans of the training part hidden in them, and asked about test photographs of a
source, with test scans in them; with the dimension ``analyzer``, about what a server answers to those, and with ``contrast``, about scans
that were hidden fainter than they are. 0.5 is perfect for the hider; PSNR and SSIM, which say what people see, do not say this.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from attrs import Factory, asdict, evolve, fields, frozen
from attrs.validators import optional
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.contracts import Cell, Detector, Quantity, Suite, Value
from privmed.bench.data import Sample, centre, picture
from privmed.bench.fingerprint import fingerprint
from privmed.errors import SettingsError, did_you_mean
from privmed.imaging import quantise
from privmed.interfaces import Analyzer, BareAnalyzer, FileHider, Hider
from privmed.pipeline import fits
from privmed.settings import at_least, between, positive, setting, side, structure
from privmed.shared_key import SharedKey, with_key
from privmed.weights import bundled

NOISE = "noise"
NOBODY = "none"  # analyses
FULL = 1.0  # contrast of a scan that is hidden as it is
GREY = 0.5  # what its contrast is taken off and brought back around
ANOTHER = 1  # seed of a key that is not the sender's
FALSE = 0.01  # share of photographs that may be taken for stegos


@frozen(kw_only=True)
class DetectionConfig:
    """Settings of :class:`Detection`."""

    size: int = setting(224, "side of all images", side())
    train: int = setting(150, "photographs a detector learns from, each without and with a scan", at_least(2))
    test: int = setting(100, "photographs it is asked about, each without and with a scan", at_least(2))
    noise: float = setting(40.0, "PSNR in dB of the control `noise`", positive())
    load: float = setting(0.2, "bits a pixel that hiders carry who carry files", between(0, 3))
    leaked_weights: list[str] = setting(
        Factory(list), "entries whose own weights the detector `recover` has, instead of bundled ones"
    )
    detectors: dict[str, dict[str, Any]] = setting({}, "settings of detectors, by their name")


@frozen(kw_only=True)
class NoiseConfig:
    """Settings of an entry of the control ``noise``."""

    psnr: float | None = setting(None, "PSNR in dB; the suite's setting `noise` by default", optional(positive()))


class Detection(Suite):
    """Hiders against detectors, beside random noise of a given PSNR."""

    name = "detection"
    Config = DetectionConfig
    methods = "hider"
    grid = {  # noqa: RUF012
        "detector": ["recover", "cooccurrence"],
        "examples": ["covers"],
        "cover": ["covers"],
        "analyzer": [NOBODY],
        "contrast": [FULL],
    }
    baselines = (NOISE,)
    quantities = {  # noqa: RUF012
        "auc": Quantity(title="AUC of the detector", better="lower"),
        "told": Quantity(title="told apart", better="lower", share=True),
        "found": Quantity(title="found at no more than 1 % false alarms", better="lower", share=True),
        "psnr": Quantity(title="stego PSNR", unit="dB"),
        "response-psnr": Quantity(title="response PSNR", unit="dB"),
        "recovered-psnr": Quantity(title="recovered PSNR", unit="dB"),
    }

    def prepare(self) -> None:
        used = {cell.dimensions["detector"] for cell in super().cells()}
        if unused := sorted(set(self.config.detectors) - used):
            raise SettingsError(
                f"detectors: {unused[0]!r} is no detector of this plan; there are {', '.join(sorted(used))}."
                f"{did_you_mean(unused[0], used)}"
            )
        self.check_leaked()
        for cell in super().cells():
            self.check_analyzer(cell.entry.label, cell.dimensions["analyzer"])
            self.check_contrast(cell.entry.label, cell.dimensions["contrast"])
            self.level(cell.entry.label)
            self.detector(cell.dimensions["detector"], cell.seed)
            self.context.dataset(cell.dimensions["examples"]).part("train")
            self.context.dataset(cell.dimensions["cover"]).part("test")

    def cells(self) -> Iterator[Cell]:
        for plain in super().cells():
            cell = evolve(plain, dimensions={**plain.dimensions, "contrast": float(plain.dimensions["contrast"])})
            asked = registry.load("detector", cell.dimensions["detector"])
            needed = asked.needs_public or cell.dimensions["analyzer"] != NOBODY or cell.dimensions["contrast"] != FULL
            if not needed or isinstance(self.public(cell.entry.label), Hider):
                yield cell

    def check_leaked(self) -> None:
        """Refuse weights that leaked of an entry which has none of its own.

        Raises:
            SettingsError: naming it, or those that have some.
        """
        own = {e.label for e in self.context.plan.entries if e.weights and e.weights != registry.BUNDLED}
        if unknown := sorted(set(self.config.leaked_weights) - own):
            raise SettingsError(
                f"leaked_weights: {unknown[0]!r} is no entry with weights of its own; there are {', '.join(sorted(own)) or 'none'}."
                f"{did_you_mean(unknown[0], own)}"
            )

    def check_analyzer(self, label: str, name: str) -> None:
        """Refuse an analyzer that cannot answer to an entry's stegos.

        Raises:
            SettingsError: when it follows another hider, takes bare images alone, or is not named ``METHOD:WEIGHTS``.
        """
        if name == NOBODY or not isinstance(self.hider(label), Hider):
            return
        own, server = self.hider(label), self.analyzer(name)
        if isinstance(server, BareAnalyzer):
            server.refuse()
        if not fits(server, own):
            follows = (server.card or {}).get("hider") or {}
            made = " ".join(filter(None, (follows.get("name"), follows.get("weights")))) or "no hider"
            raise SettingsError(
                f"analyzer {name}: answers to stegos of {made}, and not to those of {label}. Give entries a grid of their own."
            )

    def check_contrast(self, label: str, contrast: Any) -> None:
        """Refuse a contrast that is none.

        Raises:
            SettingsError: unless it is a number in (0, 1].
        """
        if isinstance(contrast, bool) or not isinstance(contrast, (int, float)) or not 0 < contrast <= FULL:
            raise SettingsError(f"{label}: contrast must be a number above 0 and at most 1, got {contrast!r}.")

    def level(self, label: str) -> float:
        """The PSNR of the control, in dB: its entry's own, or the suite's.

        Raises:
            SettingsError: when the entry has other settings.
        """
        entry = self.context.plan.entry(label)
        own = structure(NoiseConfig, entry.settings, f"{label}: settings") if entry.method == NOISE else NoiseConfig()
        return self.config.noise if own.psnr is None else own.psnr

    @functools.cache  # noqa: B019
    def analyzer(self, name: str) -> Analyzer:
        """What a server runs."""
        method, _, weights = name.partition(":")
        if not weights:
            raise SettingsError(f"analyzer {name}: expected METHOD:WEIGHTS, e.g. hidemia:busi, or {NOBODY}.")
        return registry.create("analyzer", method, weights, self.context.device)

    def detector(self, name: str, seed: int) -> Detector:
        """A fresh detector with the plan's settings; one that draws does so by the seed of the run."""
        draws = any(a.name == "seed" for a in fields(registry.load("detector", name).Config))
        settings = {**({"seed": seed} if draws else {}), **self.config.detectors.get(name, {})}
        return registry.part("detector", name, **settings)

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def fitted(
        self, name: str, label: str, data: str, source: str, seed: int, server: str = NOBODY, contrast: float = FULL
    ) -> Detector:
        """A detector that has learnt from photographs of one source, to be asked about any."""
        detector = self.detector(name, seed)
        detector.fit(*self.pairs(label, data, source, "train", seed, server, contrast), self.public(label))
        return detector

    @functools.cache  # noqa: B019
    def hider(self, label: str) -> Hider | FileHider | None:
        """What the sender uses; None for the control."""
        entry = self.context.plan.entry(label)
        if entry.method == NOISE:
            return None
        chosen = self.context.weights(entry.weights) or registry.BUNDLED
        return with_key(registry.create("hider", entry.method, chosen, self.context.device, **entry.settings))

    @functools.cache  # noqa: B019
    def public(self, label: str) -> Hider | None:
        """What everybody has: the hider with bundled weights or, where they leaked, its own; with another key."""
        entry, own = self.context.plan.entry(label), self.hider(label)
        if not isinstance(own, Hider):
            return None
        known = entry.weights in bundled(type(own)) or label in self.config.leaked_weights
        chosen = (self.context.weights(entry.weights) if known else "") or registry.BUNDLED
        return with_key(registry.create("hider", entry.method, chosen, self.context.device, **entry.settings), ANOTHER)

    def identity(self, cell: Cell) -> dict[str, Any]:
        own, seen, server = self.hider(cell.entry.label), self.context.dataset, cell.dimensions["analyzer"]
        answers = None if server == NOBODY else self.analyzer(server)
        detector = self.detector(cell.dimensions["detector"], cell.seed)
        modules = {
            __name__,
            "privmed.pipeline",
            type(detector).__module__,
            *(type(m).__module__ for m in (own, answers) if m),
        }
        return {
            "data": seen(cell.data).digest(),
            "covers": [
                seen(cell.dimensions["examples"]).digest("train"),
                seen(cell.dimensions["cover"]).digest("test"),
            ],
            "settings": [self.config.size, self.config.train, self.config.test],
            "weights": ((own.card or {}).get("sha256", "") if own else self.level(cell.entry.label)),
            "code": fingerprint(*sorted(modules)),
            **({"leaked": True} if cell.entry.label in self.config.leaked_weights else {}),
            **({"answers": (answers.card or {}).get("sha256", "")} if answers else {}),
            **({"load": self.config.load} if isinstance(own, FileHider) else {}),
            **({"detector": asdict(detector.config)} if fields(type(detector.config)) else {}),
        }

    def measure(self, cell: Cell) -> list[Value]:
        label, where = cell.entry.label, cell.dimensions
        server, contrast = where["analyzer"], where["contrast"]
        detector = self.fitted(where["detector"], label, cell.data, where["examples"], cell.seed, server, contrast)
        asked = self.pairs(label, cell.data, where["cover"], "test", cell.seed, server, contrast)
        covers, stegos = (detector.score(x, self.public(label)).double() for x in asked)
        stated: dict[str, Any] = {name: getattr(detector.config, name) for name in detector.stated}
        if "contrast" not in self.context.plan.grid:  # as they are, which needs no word
            stated["contrast"] = None
        likeness = "psnr" if server == NOBODY else "response-psnr"
        found = [*judged(covers, stegos), *likenesses(likeness, psnr_of(*asked))]
        if server == NOBODY and isinstance(self.hider(label), Hider):
            found += likenesses("recovered-psnr", self.legible(label, cell.data, where["cover"], cell.seed, contrast))
        return [evolve(v, dimensions=stated) for v in found]

    @functools.cache  # noqa: B019
    def pairs(
        self,
        label: str,
        data: str,
        source: str,
        part: str,
        seed: int,
        server: str = NOBODY,
        contrast: float = FULL,
    ) -> tuple[Tensor, Tensor]:
        """Photographs of a source, and the same with something in them or what a server answers to that, each (N, 3, S, S) uint8."""
        if server != NOBODY:
            covers, stegos = self.pairs(label, data, source, part, seed, NOBODY, contrast)
            answers = []
            for n, stego in enumerate(stegos.split(1)):
                answers.append(self.answered(stego, server))
                self.context.progress(n + 1, len(stegos), f"{server} answers in {source}, {part}")
            return covers, torch.cat(answers)
        photographs = spread(self.context.dataset(source).part(part), self.count(part))
        covers = torch.stack([centre(p, self.config.size) for p in photographs])
        stegos, scans = [], self.scans(data, part)
        for n, cover in enumerate(covers):
            scan = scans[n % len(scans)]
            stegos.append(self.sent(label, scan, cover, f"{seed} {part} {n}", contrast))
            self.context.progress(n + 1, len(covers), f"{label} in {source}, {part}")
        return covers, torch.stack(stegos)

    def count(self, part: str) -> int:
        """How many photographs of a part are looked at."""
        return self.config.train if part == "train" else self.config.test

    @functools.cache  # noqa: B019
    def scans(self, data: str, part: str) -> list[Tensor]:
        """What is hidden, each (3, S, S) uint8."""
        return [picture(s, self.config.size) for s in spread(self.context.dataset(data).part(part), self.count(part))]

    @functools.cache  # noqa: B019
    def legible(self, label: str, data: str, source: str, seed: int, contrast: float) -> Tensor:
        """PSNR of the test scans as the receiver has them, who brings the contrast back, (N,)."""
        own, stegos, scans = self.hider(label), self.pairs(label, data, source, "test", seed, NOBODY, contrast)[1], []
        for n, stego in enumerate(stegos.split(1)):
            scan = self.scans(data, "test")[n % len(self.scans(data, "test"))]
            read = own.recover(stego.float() / 255, clamp=False)
            back = (GREY + (read - GREY) / contrast).clamp(0, 1)
            scans.append(psnr_of(scan[None], back * 255))
        return torch.cat(scans)

    def answered(self, stego: Tensor, server: str) -> Tensor:
        """The response to a stego as the file holds it, (1, 3, S, S) uint8."""
        response = self.analyzer(server).analyze(stego.float() / 255, generator=0)
        return (quantise(response) * 255).round().byte()

    def sent(self, label: str, scan: Tensor, cover: Tensor, seed: str, contrast: float = FULL) -> Tensor:
        """A photograph with something in it as the file holds it, (3, S, S) uint8."""
        own = self.hider(label)
        drawn = hashlib.sha256(seed.encode()).digest()
        scan, cover = (x[None].float() / 255 for x in (scan, cover))
        if isinstance(own, FileHider):
            count = int(self.config.load * cover[0, 0].numel() / 8)
            stego = own.hide_file((drawn * (count // 32 + 1))[:count], cover, SharedKey(drawn), generator=0)
        elif own is None:
            generator = torch.Generator().manual_seed(int.from_bytes(drawn[:4], "big"))
            noise = torch.randn(cover.shape, generator=generator)
            stego = cover + noise * 10 ** (-self.level(label) / 20)
        else:
            stego = own.hide(GREY + contrast * (scan - GREY), cover, generator=0)
        return (quantise(stego.clamp(0, 1))[0] * 255).round().byte().expand(3, -1, -1)


def spread(samples: list[Sample], count: int) -> list[Sample]:
    """At most so many samples, evenly over the list."""
    return [samples[i * len(samples) // count] for i in range(count)] if len(samples) > count else samples


def psnr_of(covers: Tensor, stegos: Tensor) -> Tensor:
    """Of each pair, (N,)."""
    error = (covers.double() - stegos.double()).square().flatten(1).mean(1)
    return 10 * (255**2 / error).log10()


def auc(negative: Tensor, positive: Tensor) -> float:
    """Chance that a random positive scores higher than a random negative; a tie counts half."""
    more = (positive[:, None] > negative[None]).double() + (positive[:, None] == negative[None]).double() / 2
    return float(more.mean())


def auc_error(area: float, negatives: int, positives: int) -> float:
    """Standard error of an area under the curve (J. Hanley and B. McNeil, Radiology 143, 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return math.sqrt(max(0.0, variance) / (negatives * positives))


def judged(covers: Tensor, stegos: Tensor) -> list[Value]:
    """AUC with its standard error, accuracy at the detector's own threshold, and what is found at no more than 1 % false alarms.

    Of fewer than 100 photographs that is none: what is found scores more than every one of them.
    """
    area, n = auc(covers, stegos), len(covers)
    right = float((covers <= 0).double().mean() + (stegos > 0).double().mean()) / 2
    cut = covers.sort().values[max(0, math.ceil((1 - FALSE) * n) - 1)]
    return [
        Value(metric="auc", value=area, n=n, spread=auc_error(area, n, len(stegos)), over="pairs"),
        Value(metric="told", value=right, n=2 * n, over="images"),
        Value(metric="found", value=float((stegos > cut).double().mean()), n=len(stegos), over="images"),
    ]


def likenesses(metric: str, decibels: Tensor) -> list[Value]:
    """The mean PSNR of those images that differ at all."""
    finite = decibels[decibels.isfinite()]
    return [Value(metric=metric, value=float(finite.mean()), n=len(finite), over="images")] if len(finite) else []


@hookimpl
def privmed_register(register):
    register(Detection)
