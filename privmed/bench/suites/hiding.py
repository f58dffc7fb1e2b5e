"""Hiders: how little hiding changes a photograph, and how well the scan comes back, after the 8-bit PNG.

Every figure is averaged over the covers of an image, then over images; the spread is the standard deviation over images. Beside the mean
stand the worst twentieth of all pairs, and the worst patch of an image. With the setting ``readers`` every other entry, a ``reader``, reads
the stegos, too: the pair ``secret-read`` is what it gets, held against the scan, and ``secret-nothing hidden`` what it sees in the
photographs as they were, which may be as like the scan. Of each figure ``any other`` is the most that one of them gets.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import imagecodecs
import torch
from attrs import evolve, frozen
from torch import Tensor

from privmed import hookimpl, registry
from privmed.bench.contracts import Cell, Metric, Quantity, Suite, Value
from privmed.bench.covers import ALL, GROUPS, Photographs
from privmed.bench.data import Sample, picture
from privmed.bench.fingerprint import fingerprint
from privmed.errors import SettingsError, did_you_mean
from privmed.imaging import quantise
from privmed.imaging.raster import encode_png
from privmed.imaging.wire import from_bytes, to_bytes
from privmed.interfaces import FileHider, Hider
from privmed.metrics import outline_correlation, worst_patch
from privmed.pipeline import hide, png, recover
from privmed.settings import at_least, setting, side, unstructure
from privmed.shared_key import SharedKey, with_key

WORST = 0.05
PATCH = 32
WORST_PATCH = "worst patch"
OTHER = 1  # seed of a key that is not the sender's, which is drawn by 0
READ, NOTHING = "secret-read", "secret-nothing hidden"
ANY = "any other"  # reader: the one who gets most
OUTLINES = "outlines"


@frozen(kw_only=True)
class ImagesConfig:
    """Settings of every suite that hides images."""

    size: int = setting(224, "side of all images", side())
    covers: int = setting(5, "photographs an image is hidden in", at_least(1))
    limit: int = setting(40, "an even sample of about so many test images of larger sets; 0 for all", at_least(0))


@frozen(kw_only=True)
class HidingConfig(ImagesConfig):
    """Settings of :class:`Hiding`."""

    room: int = setting(672, "side of the photographs of hiders that carry files, which need more room", side())
    readers: bool = setting(False, "judge what each other entry reads out of a stego, too")


def sampled(samples: list[Sample], limit: int) -> list[Sample]:
    """An even sample of large sets, whole sets below twice the limit."""
    return samples[:: max(1, len(samples) // limit)] if limit else samples


def secret_of(sample: Sample, size: int) -> Tensor:
    """A scan as it is hidden, (1, 3, size, size) in [0, 1]."""
    return picture(sample, size)[None].float() / 255


class Hiding(Suite):
    """Hiders on secrets in photographs."""

    name = "hiding"
    Config = HidingConfig
    methods = "hider"
    grid = {"cover": ["covers"], "group": [ALL], "refine": [0]}  # noqa: RUF012
    metrics = ("psnr", "psnr-y", "ssim")
    quantities = {  # noqa: RUF012
        "identical": Quantity(title="recovered without any change", share=True),
        OUTLINES: Quantity(title="correlation of outlines"),
    }

    def prepare(self) -> None:
        if self.config.readers and len(self.context.plan.entries) < 2:
            raise SettingsError(
                f"{self.context.plan.name or 'plan'}: readers: there is no other entry that could read."
            )
        for name in {*self.context.plan.data, *self.context.plan.grid.get("cover", ["covers"])}:
            self.context.dataset(name).part("test")
        for cell in self.cells():
            group, known = cell.dimensions["group"], (ALL, *GROUPS)
            if group not in known:
                raise SettingsError(
                    f"group: there is no {group!r}; there are {', '.join(known)}.{did_you_mean(group, known)}"
                )
            if self.config.readers and isinstance(self.hider(cell.entry.label), FileHider):
                raise SettingsError(
                    f"entry {cell.entry.label!r}: carries files, which no other hider reads. Leave it or the setting readers out."
                )
            side_ = self.config.room if isinstance(self.hider(cell.entry.label), FileHider) else self.config.size
            self.photographs(cell.dimensions["cover"], side_, group)  # where there is none, it is said before any work

    @functools.cache  # noqa: B019  (a suite lives as long as its plan)
    def hider(self, label: str) -> Hider | FileHider:
        """The hider of an entry, made once."""
        entry = self.context.plan.entry(label)
        chosen = self.context.weights(entry.weights) or registry.BUNDLED
        return with_key(registry.create("hider", entry.method, chosen, self.context.device, **entry.settings))

    @functools.cache  # noqa: B019
    def photographs(self, name: str, size: int, group: str) -> Photographs:
        """Covers of one source and group."""
        return Photographs(self.context.dataset(name), size, self.config.covers, group)

    def covers(self, cell: Cell, index: int, size: int) -> Tensor:
        """The covers of one image."""
        return self.photographs(cell.dimensions["cover"], size, cell.dimensions["group"]).of(index)

    def identity(self, cell: Cell) -> dict[str, Any]:
        method = self.hider(cell.entry.label)
        metrics = self.context.metrics("images")
        return {
            "data": self.context.dataset(cell.data).digest("test"),
            "covers": [self.context.dataset(cell.dimensions["cover"]).digest("test"), self.config.covers],
            "size": self.config.size,
            "limit": self.config.limit,
            "weights": (method.card or {}).get("sha256", ""),
            "code": fingerprint(
                type(method).__module__, __name__, "privmed.pipeline", *sorted({type(m).__module__ for m in metrics})
            ),
            "metrics": [m.name for m in metrics],
            **({"group": fingerprint("privmed.bench.covers")} if cell.dimensions["group"] != ALL else {}),
            **({"room": self.config.room} if isinstance(method, FileHider) else {}),
            **({"readers": self._readers(cell.entry.label)} if self.config.readers else {}),
        }

    def _readers(self, label: str) -> dict[str, list[str]]:
        """The other entries with what their answers rest on."""
        others = [e.label for e in self.context.plan.entries if e.label != label]
        about = {other: self.hider(other) for other in others}
        return {
            o: [h.name, unstructure(h.config), (h.card or {}).get("sha256", ""), fingerprint(type(h).__module__)]
            for o, h in about.items()
        }

    def measure(self, cell: Cell) -> list[Value]:
        method, metrics = self.hider(cell.entry.label), self.context.metrics("images")
        travel = self._as_file if isinstance(method, FileHider) else self._as_image
        samples = sampled(self.context.dataset(cell.data).part("test"), self.config.limit)
        seen: dict[tuple[str, str], list[Tensor]] = {}
        read: dict[tuple[str, str, str], list[Tensor]] = {}
        for n, sample in enumerate(samples):
            pairs = travel(cell, n, secret_of(sample, self.config.size))
            for pair, found, reference in pairs:
                for key, values in judged(metrics, found, reference).items():
                    seen.setdefault((pair, key), []).append(values)
            if self.config.readers:
                for where, values in self._read(cell, n, pairs).items():
                    read.setdefault(where, []).append(values)
            self.context.progress(n + 1, len(samples), f"{cell.entry.label} on {cell.data}")
        out = [value for (pair, key), values in seen.items() for value in valued(key, pair, values, metrics)]
        out.append(identical("secret-recovered", seen["secret-recovered", WORST_PATCH]))
        for (pair, reader, key), values in read.items():
            where = {"pair": pair, "reader": reader}
            out += [evolve(mean, dimensions=where) for mean in valued(key, pair, values, metrics)[:1]]
        if cell.dimensions["group"] == ALL:  # which needs no word
            return [evolve(v, dimensions={**v.dimensions, "group": None}) for v in out]
        return out

    def _as_image(self, cell: Cell, index: int, secret: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """What becomes of photographs and scan, each beside what it was."""
        method = self.hider(cell.entry.label)
        walk = hide(method, refine=cell.dimensions["refine"] or 0) | png() | recover(method)
        cover = self.covers(cell, index, self.config.size)
        secret = secret.expand(len(cover), -1, -1, -1)
        run = walk(secret, cover, seed=cell.seed)
        recovered = quantise(run.recovered)
        return [
            ("stego-cover", run.stego, cover),
            ("secret-recovered", recovered, secret),
            *self._without_the_key(method, run.stego, cover, secret),
        ]

    @staticmethod
    def _without_the_key(
        method: Hider, stego: Tensor, cover: Tensor, secret: Tensor
    ) -> list[tuple[str, Tensor, Tensor]]:
        """What another key reads, where there are keys; beside it what it reads out of the photograph, which holds nothing of the scan."""
        if not hasattr(method, "use_key"):
            return []
        with_key(method, OTHER)
        found = [quantise(method.recover(x)) for x in (stego, quantise(cover))]
        with_key(method)
        return [("secret-other key", found[0], secret), ("secret-nothing hidden", found[1], secret)]

    @torch.no_grad()
    def _read(
        self, cell: Cell, index: int, pairs: list[tuple[str, Tensor, Tensor]]
    ) -> dict[tuple[str, str, str], Tensor]:
        """What other entries get out of the stegos and see in the photographs, by pair, reader and figure."""
        found = {pair: (image, reference) for pair, image, reference in pairs}
        stego, secret = found["stego-cover"][0], found["secret-recovered"][1]
        cover = quantise(self.covers(cell, index, self.config.size))
        metrics = self.context.metrics("images")
        others = [e.label for e in self.context.plan.entries if e.label != cell.entry.label]
        out: dict[tuple[str, str, str], Tensor] = {}
        for pair, image in ((READ, stego), (NOTHING, cover)):
            for other in others:
                seen = seen_of(metrics, quantise(self.hider(other).recover(image)), secret)
                out |= {(pair, other, key): values for key, values in seen.items()}
            for key in (*(m.name for m in metrics), OUTLINES):
                lower = any(m.name == key and m.better == "lower" for m in metrics)
                each = torch.stack([out[pair, other, key] for other in others])
                out[pair, ANY, key] = each.amin(0) if lower else each.amax(0)
        return out

    def _as_file(self, cell: Cell, index: int, secret: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """The same of a PNG of the scan in larger photographs."""
        method = self.hider(cell.entry.label)
        if cell.dimensions["refine"]:
            method.refuse()
        cover = self.covers(cell, index, self.config.room)
        stego, recovered = as_file(method, secret, cover, cell.seed)
        return [("stego-cover", stego, cover), ("secret-recovered", recovered, secret.expand_as(recovered))]

    def weights(self) -> dict[str, str]:
        cards = {e.label: self.hider(e.label).card for e in self.context.plan.entries}
        return {label: card["sha256"][:12] for label, card in cards.items() if card}


def as_file(method: FileHider, secret: Tensor, cover: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A PNG of a scan (1, 3, H, W) in photographs (B, 3, H', W'), and what comes out of each again."""
    key, file = SharedKey(hashlib.sha256(f"bench {seed}".encode()).digest()), encode_png(to_bytes(secret))
    stego = torch.cat([method.hide_file(file, one[None], key, generator=seed) for one in cover])
    found = [imagecodecs.png_decode(method.recover_file(one[None], key)) for one in stego]
    return stego, torch.cat([from_bytes(pixels) for pixels in found])


def judged(metrics: list[Metric], found: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """Each metric of each image of a batch, and the PSNR of its worst patch."""
    out = {m.name: m(found, reference) for m in metrics}
    return {**out, WORST_PATCH: worst_patch(found, reference, PATCH, PATCH // 2)[0]}


def seen_of(metrics: list[Metric], found: Tensor, secret: Tensor) -> dict[str, Tensor]:
    """Each metric of what somebody reads without the weights that hid, and how far it shows the outlines of the scan."""
    return {**{m.name: m(found, secret) for m in metrics}, OUTLINES: outline_correlation(found, secret)}


def valued(key: str, pair: str, values: list[Tensor], metrics: list[Metric]) -> list[Value]:
    """Mean over images with its spread, and the worst twentieth of all pairs; infinite ones, of equal images, are left out."""
    kept = [v.double()[torch.isfinite(v)] for v in values]
    kept = [v for v in kept if len(v)]
    if not kept:
        return []
    images = torch.stack([v.mean() for v in kept])
    spread = float(images.std()) if len(images) > 1 else None
    about = {"value": float(images.mean()), "n": len(images), "spread": spread, "over": "images"}
    if key == WORST_PATCH:
        return [Value(metric="psnr", dimensions={"pair": pair, "statistic": key}, **about)]
    lower = any(m.name == key and m.better == "lower" for m in metrics)
    worst = torch.cat(kept).sort(descending=lower).values
    worst = worst[: max(1, round(WORST * len(worst)))]
    tail = {"pair": pair, "statistic": f"worst {100 * WORST:.0f} %"}
    return [
        Value(metric=key, dimensions={"pair": pair}, **about),
        Value(metric=key, value=float(worst.mean()), n=len(worst), over="pairs", dimensions=tail),
    ]


def identical(pair: str, values: list[Tensor]) -> Value:
    """How many images came through without any change."""
    same = torch.cat(values).isinf()
    about = {"n": len(same), "over": "pairs", "dimensions": {"pair": pair}}
    return Value(metric="identical", value=float(same.double().mean()), **about)


@hookimpl
def privmed_register(register):
    register(Hiding)
